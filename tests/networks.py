"""Random networks, drawn by hypothesis, and the comparison of their estimates with real runs."""

import json
import tempfile
from pathlib import Path

import pytest
from costs import assert_costs_are_equal
from hypothesis import HealthCheck, given, note, reject, settings
from hypothesis import strategies as st

import costmodel
from costmodel.errors import CostmodelError
from costmodel.pytorch import measure, realize

FAST = settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
SLOW = settings(FAST, max_examples=500)


CLASSES = 5


ACTIVATIONS = st.one_of(
    st.builds(
        lambda op, inplace: {"op": op, "inplace": inplace},
        st.sampled_from(["relu", "relu6", "hardswish", "hardsigmoid", "silu"]),
        st.booleans(),
    ),
    st.sampled_from([{"op": "sigmoid"}, {"op": "gelu"}, {"op": "gelu", "approximate": "tanh"}]),
)


NORMS = st.one_of(
    st.just({"op": "batch_norm"}),
    st.builds(lambda groups: {"op": "group_norm", "groups": groups}, st.sampled_from([1, 2, 4])),
)


# Widths are multiples of 8 and ratios multiples of 1/2, so that a norm's groups divide every number of channels.
WIDTHS = st.sampled_from([8, 16, 24, 40])


EXPANSIONS = st.one_of(
    st.builds(lambda ratio: {"expand": ratio}, st.sampled_from([1, 1.5, 2, 3, 6])),
    st.builds(lambda channels: {"expanded": channels}, WIDTHS),
    st.just({}),
)


@st.composite
def stages(draw):
    """A spec's row of `stages`, with blocks of any kind."""
    row = {
        "out": draw(WIDTHS),
        "repeat": draw(st.integers(1, 2)),
        "stride": draw(st.integers(1, 2)),
        **draw(st.one_of(st.just({}), st.builds(lambda activation: {"activation": activation}, ACTIVATIONS))),
    }
    kind = draw(st.sampled_from(["inverted_residual", "inverted_residual", "universal", "conv"]))
    if kind == "inverted_residual":
        row |= draw(EXPANSIONS) | {"kernel": draw(st.integers(1, 5)), "squeeze_excite": draw(st.booleans())}
    elif kind == "universal":
        kernels = st.sampled_from([0, 3, 5])
        row |= draw(EXPANSIONS) | {"kind": kind, "start": draw(kernels), "middle": draw(kernels)}
    else:
        row |= {"kind": kind, "kernel": draw(st.integers(1, 4))}
    return row


@st.composite
def block_networks(draw):
    """A spec of blocks: stem, stages, and a tail with some kind of pooling."""
    pooling = [
        [{"op": "adaptive_avg_pool2d", "at": "pool"}, {"op": "flatten", "at": "flatten"}],
        [{"op": "mean", "axes": [2, 3], "at": "mean"}],
        [{"op": "mean", "axes": [3], "at": "mean_width"}, {"op": "mean", "axes": [2], "at": "mean_height"}],
        [{"op": "adaptive_avg_pool2d", "output": [2, 3], "at": "pool"}, {"op": "flatten", "at": "flatten"}],
    ]
    dropouts = [[], [{"op": "dropout", "p": 0.2, "at": "dropout"}]]
    rows = draw(st.lists(stages(), min_size=1, max_size=3))
    return {
        "network": "random",
        "resolution": draw(st.integers(17, 40)),
        "classes": CLASSES,
        "width": draw(st.sampled_from([0.5, 1.0, 1.4])),
        "norm": draw(NORMS),
        "activation": draw(ACTIVATIONS),
        "squeeze_excite": {
            "of": draw(st.sampled_from(["input", "expanded"])),
            "ratio": draw(st.sampled_from([0.25, 0.5])),
            "divisor": draw(st.sampled_from([1, 4, 8])),
            "activation": draw(ACTIVATIONS),
            "gate": draw(st.sampled_from([{"op": "sigmoid"}, {"op": "hardsigmoid"}])),
        },
        "stochastic_depth": draw(st.sampled_from([0, 0.2])),
        "add_inplace": draw(st.booleans()),
        "stem": [
            {
                "conv": draw(WIDTHS),
                "kernel": 3,
                "stride": 2,
                "bias": draw(st.booleans()),
                "at": ["stem.conv", "stem.norm", "stem.activation"],
            }
        ],
        "stages": rows,
        "tail": [
            *draw(st.sampled_from(pooling)),
            *draw(st.sampled_from(dropouts)),
            {"op": "linear", "out_features": "classes", "bias": draw(st.booleans()), "at": "classifier.0"},
        ],
        "classifier": "classifier",
    }


def layers(draw, channels):
    """One op with its fields, for an input with `channels` channels, and the channels of its output."""
    kind = draw(st.sampled_from(["conv2d", "conv2d", "norm", "activation", "activation", "pool", "noise"]))
    if kind == "conv2d":
        out = draw(st.sampled_from([8, 12, 16]))
        groups = draw(st.sampled_from([g for g in (1, 2, 4, channels) if channels % g == out % g == 0]))
        kernel = draw(st.sampled_from([1, 3, [3, 5], 5]))
        fields = {
            "out_channels": out,
            "kernel": kernel,
            "padding": draw(st.integers(2, 3)),
            "groups": groups,
            "stride": draw(st.sampled_from([1, 1, 2, [1, 2]])),
            "dilation": draw(st.sampled_from([1, 1, 2])),
            "bias": draw(st.booleans()),
        }
        return {"op": kind, **fields}, out
    if kind == "norm":
        norm = draw(NORMS)
        return (norm if channels % norm.get("groups", 1) == 0 else {"op": "batch_norm"}), channels
    if kind == "activation":
        return draw(ACTIVATIONS), channels
    if kind == "pool":
        pool = draw(st.sampled_from(["avg_pool2d", "max_pool2d"]))
        window = {"kernel": draw(st.integers(2, 3)), "stride": draw(st.integers(1, 2)), "padding": 1}
        return {"op": pool, **window, "ceil": draw(st.booleans())}, channels
    noise = [
        {"op": "dropout", "p": 0.3},
        {"op": "stochastic_depth", "p": 0.3},
        {"op": "stochastic_depth", "p": 0.3, "mode": "batch"},
    ]
    return draw(st.sampled_from(noise)), channels


#: Ops whose backward does not read their output, so that the next op may overwrite it.
OVERWRITABLE = ("conv2d", "batch_norm", "group_norm", "avg_pool2d", "max_pool2d")


@st.composite
def node_networks(draw):
    """A spec that lists its nodes: blocks of chained ops, with sums and products of earlier values in the block."""
    nodes, blocks, last, channels, previous = [], [], "input", 3, ""
    for block in range(draw(st.integers(1, 3))):
        blocks.append(f"block{block}")
        alive = [last] if last != "input" else []  # values not overwritten, which an add or a mul may still read
        for i in range(draw(st.integers(1, 5))):
            name = f"block{block}.{i}"
            joins = draw(st.booleans()) and i > 0 and bool(alive)
            if joins:
                other = draw(st.sampled_from(alive))
                fields = {"op": draw(st.sampled_from(["add", "mul"])), "inputs": [last, other]}
            else:
                fields, channels_after = layers(draw, channels)
                fields = dict(fields)  # a drawn value may be shared
                if fields.get("inplace") and previous not in OVERWRITABLE:
                    fields["inplace"] = False
                if fields.get("inplace") and last in alive:
                    alive.remove(last)
                fields["inputs"] = [last]
                if fields["op"] in ("conv2d", "avg_pool2d", "max_pool2d"):
                    alive = []  # the shape may change, so earlier values no longer fit
                channels = channels_after
            nodes.append({"name": name, **fields})
            last, previous = name, fields["op"]
            alive.append(last)
    nodes += [
        {"name": "pool", "op": "adaptive_avg_pool2d", "output": draw(st.sampled_from([1, 2]))},
        {"name": "flatten", "op": "flatten"},
        {"name": "head", "op": "linear", "out_features": 8},
        {"name": "classifier.0", "op": draw(st.sampled_from(["relu", "hardswish", "sigmoid"]))},
        {"name": "classifier.1", "op": "linear", "out_features": "classes"},
    ]
    return {
        "network": "random",
        "resolution": draw(st.integers(9, 24)),
        "classes": CLASSES,
        "nodes": nodes,
        "blocks": blocks,
        "classifier": "classifier",
    }


STRATEGIES = st.sampled_from(["full", "last", "norm+last", "bias", "inference", "blocks:1", "blocks:all"])


def loaded(spec):
    """The network of a spec, loaded from a file; rejects the draw if a layer has no output."""
    text = json.dumps(spec, indent=1)  # which is YAML too
    note(text)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "random.yaml")
        path.write_text(text)
        try:
            return costmodel.load(str(path))
        except CostmodelError as error:
            assert "no output: the " in str(error)  # a map became too small for a kernel
            reject()


def assert_estimate_equals_a_real_run(spec, strategy, batch):
    network = loaded(spec)
    strategy = strategy.replace("all", str(len(network.graph.blocks)))
    note(f"{network}\n{strategy}, batch {batch}")
    try:
        estimate = costmodel.estimate(network, strategy, batch)
    except CostmodelError as error:
        assert "batch statistics of one value per channel" in str(error)
        with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
            measure(realize(network, strategy), batch, network.resolution, target="cpu,threads=1")
        return
    saved = [costmodel.estimate(network, strategy, batch, convention="ideal").saved_bytes]
    for convention in ("lean", "torch"):
        estimate = costmodel.estimate(network, strategy, batch, convention=convention, target="none")
        module = realize(network, strategy, convention)
        measured = measure(module, batch, network.resolution, target="cpu,threads=1")
        saved.append(estimate.saved_bytes)
        assert_costs_are_equal(estimate, estimate, measured)
    assert saved == sorted(saved)  # ideal, lean, torch


def on_random_networks(check, strategies):
    """Tests that call check(spec, strategy, batch) on networks of blocks and of nodes: on some, and (slow) on many."""

    def one(networks, how):
        @how
        @given(networks(), strategies, st.integers(1, 3))
        def test(spec, strategy, batch):
            check(spec, strategy, batch)

        return test

    kinds = block_networks, node_networks
    return (*[one(kind, FAST) for kind in kinds], *[pytest.mark.slow(one(kind, SLOW)) for kind in kinds])
