"""The names of columns in CSV and of keys in JSON's lists: one name for one quantity, in all commands.

A name ends in its unit. Sweeps chose the names; `docs/output.md` lists them.
"""

from __future__ import annotations

from typing import NamedTuple

from ..studies.grid.columns import UNITS

TEXT, NUMBER, YES_OR_NO, COUNT = "text", "number", "yes or no", "count"


class Key(NamedTuple):
    """What a name means. unit: of its values."""

    unit: str
    meaning: str


_COSTS = {
    "saved_bytes": "distinct storages kept for the backward pass",
    "step_peak_bytes": "the highest level of allocated bytes within a step, above the level before it",
    "peak_bytes": "what is resident before a step, and `step_peak_bytes`",
    "forward_flops": "of convolutions, linear layers and matrix products, 2 per multiply-add",
    "backward_flops": "likewise, with what is run again",
    "trainable_parameters": "parameters that train",
    "trained_blocks": "blocks in which something trains",
    "certainty": "how certain saved bytes and FLOPs are: a degree as in an estimate's `certainty`",
    "step_peak_certainty": "how certain `step_peak_bytes` and `peak_bytes` are",
    "step_flops": "`forward_flops` + `backward_flops`",
    "step_seconds": "with a device, of a step there; empty where no measurement stands behind it",
    "accuracy": "your own results, from `--accuracy`",
}

#: Every name, in the groups in which documents list them.
GROUPS: dict[str, dict[str, Key]] = {
    "The request": {
        "network": Key(TEXT, "its name, or the path that was given"),
        "strategy": Key(TEXT, "what trains: NAME[:K][,key=value...]"),
        "batch": Key(COUNT, "images in a (micro-)step"),
        "resolution": Key(COUNT, "height and width of the images; 192x256 if they differ; empty if the input is none"),
        "classes": Key(COUNT, "outputs of the classifier"),
        "width": Key(NUMBER, "width multiplier"),
        "convention": Key(TEXT, "who counts"),
        "optimizer": Key(TEXT, "who updates: NAME, or NAME with foreach, fused or in_place behind a comma"),
        "target": Key(TEXT, "where the step runs"),
        "dtype": Key(TEXT, "data type of the whole network"),
        "amp": Key(TEXT, "data type of `torch.autocast` around forward and loss"),
        "accumulate": Key(COUNT, "micro-steps in an update"),
        "loss": Key(TEXT, "what training makes small: its name and options, or the name of one's own function"),
    },
    "The cost of a step": {name: Key(UNITS[name], meaning) for name, meaning in _COSTS.items()},
    "Memory": {
        "parameters_bytes": Key("bytes", "all parameters"),
        "buffers_bytes": Key("bytes", "running statistics and other buffers"),
        "gradients_bytes": Key("bytes", "gradients of all parameters that train"),
        "optimizer_bytes": Key("bytes", "the optimizer's state"),
        "input_bytes": Key("bytes", "the images"),
        "resident_bytes": Key("bytes", "what is there before a step"),
        "at_peak_gradients_bytes": Key("bytes", "of `step_peak_bytes`: gradients of parameters"),
        "at_peak_saved_bytes": Key("bytes", "of `step_peak_bytes`: saved for the backward pass"),
        "at_peak_recomputed_bytes": Key("bytes", "of `step_peak_bytes`: made again by a block's second run"),
        "at_peak_activations_bytes": Key("bytes", "of `step_peak_bytes`: activations that are not saved"),
        "at_peak_activation_gradients_bytes": Key("bytes", "of `step_peak_bytes`: gradients of activations"),
        "at_peak_scratch_bytes": Key("bytes", "of `step_peak_bytes`: scratch of kernels and of the optimizer"),
        "at_peak_loss_bytes": Key("bytes", "of `step_peak_bytes`: the loss and its gradient"),
        "peak_phase": Key(TEXT, "the pass in which the peak is reached"),
        "peak_node": Key(TEXT, "the layer at which the peak is reached"),
    },
    "FLOPs": {
        "backward_input_flops": Key("FLOPs", "of `backward_flops`: for gradients of activations"),
        "backward_weight_flops": Key("FLOPs", "of `backward_flops`: for gradients of weights"),
        "recomputed_flops": Key("FLOPs", "of `backward_flops`: for running blocks again"),
        "elementwise_forward_flops": Key("FLOPs", "elementwise operations of the forward pass"),
        "elementwise_backward_flops": Key("FLOPs", "elementwise operations of the backward pass"),
        "elementwise_recomputed_flops": Key("FLOPs", "of `elementwise_backward_flops`: for what is made again"),
    },
    "Parts of a network": {
        "table": Key(TEXT, "which table a row is from, where a CSV has several"),
        "part": Key(TEXT, "a block, or a layer with `--layers`"),
        "op": Key(TEXT, "the layer's op"),
        "made_again_of": Key(TEXT, "the layers whose kept results its own is made again of"),
        "output_shape": Key(TEXT, "of one image, as in 3x224x224"),
        "parameters": Key("parameters", "all parameters"),
        "trains": Key(TEXT, "a plan's choice for the part: what trains in it"),
        "form": Key(TEXT, "in which layers of the part keep their input; empty without one"),
        "recompute": Key(TEXT, "what lean modules make again in the part: parts, mixed or none"),
        "runs_again": Key(YES_OR_NO, "whether the block runs again in the backward pass"),
    },
    "Budgets": {
        "budget_bytes": Key("bytes", "the memory there is"),
        "fits": Key(YES_OR_NO, "whether `peak_bytes` is within the budget; with `--process`, the most of a process"),
        "headroom_bytes": Key("bytes", "`budget_bytes` less what `fits` holds against it; below 0: what is missing"),
        "maximised": Key(TEXT, "the axis whose largest value was sought"),
        "largest": Key(COUNT, "the largest value of it that fits; empty if none does"),
        "frontier": Key(YES_OR_NO, "whether no other row is better in every objective"),
    },
    "Devices": {
        "device": Key(TEXT, "the machine that trains: NAME[,memory=SIZE][,PROCESSOR]"),
        "usable_bytes": Key("bytes", "of its memory, what the system and a GPU's runtime leave"),
        "least_bytes": Key("bytes", "what a run takes of it, at least"),
        "most_bytes": Key("bytes", "what a run takes of it, at most"),
        "surely_fits": Key(TEXT, "yes, unsure, no, or calibrate first"),
        "largest_batch": Key(COUNT, "the largest batch that surely fits; 0 if none does"),
        "lowest_step_seconds": Key("seconds", "that a step takes at least"),
        "highest_step_seconds": Key("seconds", "that a step takes at most"),
        "epoch_seconds": Key("seconds", "of an epoch"),
        "run_seconds": Key("seconds", "of all epochs"),
        "step_joules": Key("joules", "of a step"),
        "run_joules": Key("joules", "of all epochs"),
        "battery_share": Key("share", "of a battery, that the run takes"),
        "limited_by": Key(TEXT, (
            "memory if it does not fit, else arithmetic or bandwidth, whichever takes more time, and heat where a long"
            " run slows down"
        )),
        "time_source": Key(TEXT, "what the seconds rest on"),
        "kernels": Key(TEXT, "what a share of a step's time is spent in"),
        "spent_seconds": Key("seconds", "of a step, spent in it"),
        "share": Key("share", "of a step's time"),
        "title": Key(TEXT, "what the device is"),
        "kind": Key(TEXT, "board, microcontroller or phone"),
        "memory_sizes": Key(TEXT, "with which it is sold"),
        "processors": Key(TEXT, "what trains on it, first the usual one"),
        "calibrated": Key(TEXT, "what its seconds rest on; empty if nothing was measured"),
        "pass": Key(TEXT, "of a layer over its maps, or of an optimizer over parameters"),
        "factor": Key(NUMBER, "times as long as arithmetic and bytes at the reference rates"),
        "measured_seconds": Key("seconds", "measured here"),
        "step_error": Key("share", "(`step_seconds` - measured) / measured"),
    },
    "Checks of budgets": {
        "check": Key(TEXT, "the name of a check in pyproject.toml"),
        "error": Key(TEXT, "why a check has no peak"),
        "saved_share": Key("share", "of the saved bytes of all blocks"),
        "before_peak_bytes": Key("bytes", "`peak_bytes` in the document given by `--diff`"),
        "before_saved_bytes": Key("bytes", "`saved_bytes` in it; empty if the block is not there"),
        "before_parameters": Key("parameters", "`parameters` in it"),
        "before_step_flops": Key("FLOPs", "`step_flops` in it"),
    },
    "Predictions beside measurements": {
        "measured_saved_bytes": Key("bytes", "measured in a real run"),
        "measured_step_peak_bytes": Key("bytes", "measured in a real run"),
        "saved_error_bytes": Key("bytes", "predicted - measured"),
        "step_peak_error": Key("share", "(predicted - measured) / measured"),
        "tensor_peak_error_bytes": Key("bytes", "of the tensors alone: predicted - measured"),
        "flops_error": Key("FLOPs", "forward or backward, whichever is larger: predicted - measured"),
        "process_bytes": Key("bytes", "the largest resident set that is expected of a process of six such steps"),
        "lowest_process_bytes": Key("bytes", "the smallest that a run of it is likely to show"),
        "highest_process_bytes": Key("bytes", "the largest that a run of it is likely to show"),
        "measured_process_bytes": Key("bytes", "measured in a process of its own"),
        "process_error": Key("share", "(`process_bytes` - measured) / measured"),
        "cases": Key(COUNT, "steps that were run"),
        "verdict": Key(TEXT, "whether the prediction holds"),
    },
    "Explanations": {
        "role": Key(TEXT, "what the explained layers do with a kept tensor: keeps, reads or makes it"),
        "layer": Key(TEXT, "the layer that keeps it first, and in whose `saved_bytes` it counts"),
        "tensor": Key(TEXT, "its name at that layer"),
        "made_by": Key(TEXT, "the layer that makes it, or the caller"),
        "tensor_shape": Key(TEXT, "of the whole batch"),
        "tensor_bytes": Key("bytes", "of the tensor"),
        "read_by": Key(TEXT, "the gradients that read it"),
        "needed": Key(YES_OR_NO, "whether the formula of such a gradient reads it, and not only the implementation"),
        "made_again": Key(TEXT, "the layers whose results the backward pass makes again of it"),
        "released_after": Key(TEXT, "the layer after whose backward pass nothing holds it; empty if it is given"),
        "still_kept_bytes": Key("bytes", "with this change, of what the explained layers keep without it"),
        "command": Key(TEXT, "shows the step with this change"),
    },
    "Published numbers": {
        "paper": Key(TEXT, "the publication"),
        "source_table": Key(TEXT, "its table or figure"),
        "claim": Key(TEXT, "what the number is of"),
        "published": Key(NUMBER, "the number, in `unit`"),
        "computed": Key(NUMBER, "by the paper's own arithmetic, in `unit`"),
        "unit": Key(TEXT, "of the numbers in the row"),
        "difference": Key(NUMBER, "`computed` - `published`"),
        "tolerance": Key(NUMBER, "the difference that is allowed"),
    },
    "Probes": {
        "first_in": Key(TEXT, "the first layer whose kernels make the call"),
        "call_dtype": Key(TEXT, "data type that the call works on"),
        "gradients": Key(TEXT, "inputs and parameters whose gradients are computed"),
        "forward_scratch_bytes": Key("bytes", "what the allocator reached beside the results in the forward pass"),
        "backward_scratch_bytes": Key("bytes", "likewise, in the backward pass"),
        "forward_seconds": Key("seconds", "of one call, the median of some warm runs"),
        "backward_seconds": Key("seconds", "of one call, the median of some warm runs"),
        "calls_in_step": Key(COUNT, "how often a step makes it; blocks that run again count twice"),
        "layers_seconds": Key("seconds", "of all that a step makes, without the optimizer"),
        "missed": Key(TEXT, "why a call could not be run"),
    },
    "Lists": {
        "summary": Key(TEXT, "what it is, in a sentence"),
        "blocks": Key("blocks", "number of blocks"),
        "reference": Key(TEXT, "the implementation that a network follows"),
        "takes_blocks": Key(YES_OR_NO, "whether a strategy takes a number of blocks, K"),
        "measurable": Key(YES_OR_NO, "whether a real run can be compared with a convention"),
        "here": Key(TEXT, "what a target is on this machine"),
        "options": Key(TEXT, "what may be added to the name of a target or an optimizer"),
        "is_block": Key(YES_OR_NO, "whether a part of a network is one of its blocks"),
        "layers": Key(COUNT, "layers of the part"),
        "first_layer": Key(TEXT, "its name"),
        "last_layer": Key(TEXT, "its name"),
        "choices": Key(TEXT, "what a plan may choose for the part"),
        "traced": Key(TEXT, "yes, or why a library's network cannot be traced"),
        "family": Key(TEXT, "of a library's networks"),
        "networks": Key(COUNT, "networks of the family"),
        "traced_networks": Key(COUNT, "networks of the family that can be traced"),
        "reason": Key(TEXT, "why not all can be"),
    },
}  # fmt: skip
#: What every name means.
SCHEMA: dict[str, Key] = {name: key for group in GROUPS.values() for name, key in group.items()}
