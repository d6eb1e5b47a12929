"""An estimate whose figures are a dry step's: the module does what the layer graph does not describe."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from ..graph.dry import DryStep, Parameter
from ..graph.graph import Node
from ..graph.paths import within
from ..sizes.size import Size
from .certainty import DRY, NOT_MODELLED, Certainty
from .estimate import Estimate, Memory, Row
from .other_steps import of_other_steps
from .resident import Resident, inputs_bytes, resident_of
from .seconds import StepTime
from .update import numbers_of


@dataclass(frozen=True, eq=False, repr=False)
class DryEstimate(Estimate):
    """The cost of one training step as a dry step of the user's own module found it.

    The peak is of tensors alone: what kernels allocate inside is left out. None is what a dry step does not tell.
    """

    dry: DryStep | None = None

    @property
    def without_rule(self) -> dict[Node, Any]:
        """None is named: a dry step knows no kernels, and its certainty says so."""
        return {}

    @cached_property
    def memory(self) -> Memory | None:
        """None: the events of a dry step are not kept."""
        return None

    @cached_property
    def time(self) -> StepTime | None:
        """None: a dry step knows what is kept, and not which kernels run for how long."""
        return None

    @property
    def step(self) -> DryStep:
        """The dry step."""
        assert self.dry is not None
        return self.dry

    @property
    def trained(self) -> list[Parameter]:
        """The parameters that get a gradient."""
        return [one for path, one in self.step.parameters.items() if path in self.step.trained]

    @property
    def saved_bytes(self) -> Size:
        return self.step.saved_bytes

    @cached_property
    def trainable_parameters(self) -> int:
        return sum(one.elements for one in self.trained)

    @cached_property
    def parameters(self) -> int:
        return sum(one.elements for one in self.step.parameters.values())

    @cached_property
    def resident(self) -> Resident:
        return resident_of(self.step, self.request)

    @property
    def resident_bytes(self) -> Size:
        given = inputs_bytes(self.shapes[0], self.inputs, self.request) + self.step.targets_bytes
        return self.resident.parameters + self.resident.beside_parameters + given

    @cached_property
    def step_peak_bytes(self) -> Size:
        """Peak bytes of the tensors above the level before the step: of the dry step, or of the update after it."""
        numbers = numbers_of(self.request.target, self.request.dtype.bits // 8)
        turns = self.request.update.turns(self.trained, [one.dtype for one in self.trained])
        highest = self.request.update.peak([sum(one.nbytes for one in turn) for turn in turns], numbers)
        return max(self.step.tensor_peak_bytes, self.step.left_bytes + highest)

    @property
    def left_bytes(self) -> int:
        return self.step.left_bytes

    @cached_property
    def memory_bytes(self) -> dict[str, Size]:
        peak = {"step_peak": self.step_peak_bytes, "peak": self.resident_bytes + self.step_peak_bytes}
        return {**super().memory_bytes, **peak}

    @cached_property
    def flops(self) -> dict[str, Any]:
        told = self.step.flops
        unknown = ("backward_input", "backward_weight", "recomputed", "elementwise_forward", "elementwise_backward",
                   "elementwise_recomputed")  # fmt: skip
        return {**told, "total": told["forward"] + told["backward"], **dict.fromkeys(unknown)}

    @cached_property
    def rows(self) -> list[Row]:
        return [
            Row(self.part_of(s.where), s.where, "tensor", s.shape, s.saved_bytes, True, ()) for s in self.step.saved
        ]

    @property
    def names(self) -> list[str]:
        """Names of the blocks, and of the classifier if there is one."""
        return [*self.graph.blocks, *([self.graph.classifier] if self.graph.classifier else [])]

    def part_of(self, path: str) -> str:
        """The part in which a module stands: a block, the classifier, or the rest."""
        return next((name for name in self.names if within(path, name)), "rest")

    @cached_property
    def blocks(self) -> list[dict[str, Any]]:
        """The parts, with what stands in none of them as `rest`; the backward FLOPs of a part are not known."""
        step, parameters = self.step, self.step.parameters
        found = []
        for name in [*self.names, "rest"]:
            mine = [path for path in parameters if self.part_of(path.rpartition(".")[0]) == name]
            found.append({
                "name": name,
                "output_shape": [],
                "parameters": sum(parameters[path].elements for path in mine),
                "trainable_parameters": sum(parameters[path].elements for path in mine if path in step.trained),
                "saved": sum(row.saved_bytes for row in self.rows if row.part == name),
                "forward_flops": sum(n for path, n in step.forward_flops_of.items() if self.part_of(path) == name),
                "backward_flops": None,
            })  # fmt: skip
        return found

    @property
    def layers(self) -> list[dict[str, Any]]:
        """The parts: a dry step knows modules, not layers."""
        return [{**part, "op": ""} for part in self.blocks]


def of_dry_step(estimate: Estimate, dry: DryStep, note: str) -> DryEstimate:
    """An estimate with a dry step's figures in place of the graph's, and a note that says why."""
    given = {field.name: getattr(estimate, field.name) for field in fields(estimate)}
    kernels = NOT_MODELLED if estimate.request.target.counts_kernels else DRY
    certainty = Certainty(DRY, DRY, DRY, kernels)
    return DryEstimate(**{**given, "degrees": certainty, "said": (note, *of_other_steps(dry), *estimate.said)}, dry=dry)
