"""Stock modules that torch.nn lacks: each the op of the same name."""

from __future__ import annotations

from typing import Callable, List, Sequence, Tuple, Union

import torch
from torch import nn


#: (submodule's path, function, or None for the frame's own layer; values read; value made; values let go)
Step = Tuple[Union[str, Callable, None], Sequence[str], str, List[str]]


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """A batch norm that normalises by its running statistics and never moves them, in train mode too."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.eval()

    def train(self, mode: bool = True) -> "FrozenBatchNorm2d":
        return super().train(False)


class StandardisedConv2d(nn.Conv2d):
    """A convolution with its weight standardised per output channel, each time anew."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(x, standardised(self.weight), self.bias)


def standardised(weight: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    """(weight - mean) / (std + eps), over all axes but the first."""
    centred = weight - weight.mean((1, 2, 3), keepdim=True)
    std = centred.flatten(1).std(1) + eps
    return centred / std.view(-1, 1, 1, 1)


def standardised_once(module: nn.Conv2d) -> nn.Conv2d:
    """The convolution with its weight standardised now, and again whenever a state dict is loaded."""
    _standardise(module)
    module.register_load_state_dict_post_hook(_standardise)
    return module


def _standardise(module: nn.Conv2d, *_: object) -> None:
    with torch.no_grad():
        module.weight.copy_(standardised(module.weight))


class StochasticDepth(nn.Module):
    """torchvision.ops.StochasticDepth: x (N, ...) times noise of shape (N, 1, ...) ("row") or (1, 1, ...) ("batch")."""

    def __init__(self, p: float, mode: str) -> None:
        super().__init__()
        self.p, self.mode = p, mode

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0:
            return x
        size = [x.shape[0] if self.mode == "row" else 1] + [1] * (x.ndim - 1)
        noise = torch.empty(size, dtype=x.dtype, device=x.device).bernoulli_(1 - self.p)
        return x * (noise.div_(1 - self.p) if self.p < 1 else noise)

    def extra_repr(self) -> str:
        return f"p={self.p}, mode={self.mode}"


class Frame(nn.Module):
    """A module whose forward runs the steps of one scope of a graph.

    Its call frame holds the inputs until it returns, as the reference implementation's does; every other value is
    let go after its last reader.
    """

    def set_steps(self, inputs: Sequence[str], steps: Sequence[Step], output: str) -> None:
        """inputs, output: names of the values that forward takes and returns."""
        self._inputs, self._steps, self._output = tuple(inputs), tuple(steps), output

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        values = dict(zip(self._inputs, args))
        for call, reads, output, done in self._steps:
            if call is None:
                call = super().forward
            elif isinstance(call, str):
                call = self.get_submodule(call)
            values[output] = call(*[values[name] for name in reads])
            for name in done:
                del values[name]
        return values[self._output]


def with_frame(own: nn.Module) -> Frame:
    """The layer `own` made a Frame too: a composite such as timm's BatchNormAct2d, which has its norm's parameters.

    Among its steps, the call None is the layer itself.
    """
    own.__class__ = type(f"{type(own).__name__}Frame", (Frame, type(own)), {})
    return own
