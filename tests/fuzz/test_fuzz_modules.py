"""Modules that are put together at random from lines that people write, and from some that they do not."""

import re

import pytest
from fuzzing import chance_of, hold, mutant, rounds, written

EACH = 20
LAYERS = (
    "nn.Conv2d(3, 8, 3, padding=1)", "nn.Conv2d(8, 8, 3)", "nn.BatchNorm2d(8)", "nn.ReLU6(inplace=True)",
    "nn.Linear(8, 4)", "nn.Sequential()", "nn.Identity()", "nn.Dropout(0.5)", "nn.ModuleList([nn.Linear(2, 2)])",
    "nn.AdaptiveAvgPool2d(1)", "nn.LSTM(8, 8)", "nn.LazyLinear(4)", "nn.Embedding(9, 8)",
    "nn.Parameter(torch.zeros(8, 1, 1))", "torch.zeros(3)",
    "lambda x: x", "None", "nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 1))", "nn.Module()",
    "nn.MultiheadAttention(8, 2)", "nn.Upsample(scale_factor=2)", "nn.SyncBatchNorm(8)",
)  # fmt: skip
LINES = (
    "x = self.a(x)", "x = self.b(x)", "x = self.c(x)", "x = self.a(x) + x", "x = x.relu()", "x = x.mean((2, 3))",
    "x = x.flatten(1)", "x = x.view(x.size(0), -1)", "x = x[:, :2]", "x = x[0]", "x = x.T", "x = x * x.sigmoid()",
    "x += 1", "x = torch.cat([x, x])", "x = torch.cat([x, x], 1)", "x = x.unsqueeze(0).squeeze()", "x = x.numpy()",
    "x = x.detach()", "x = x.to(torch.float16)", "x = x.sum().item()", "x = (x, x)", "x = {'out': x}", "x = [x]",
    "x = x if x.sum() > 0 else -x", "for _ in range(3): x = x + 1", "x.data.zero_()", "del x", "x = self.nothing(x)",
    "x = x.reshape(7)", "x = x @ x.transpose(-1, -2)", "x = torch.randn(4)", "x = torch.linalg.svd(x)[0]", "print(x)",
    "x = x.sort(1)[0]", "x = x.nonzero()", "x = x[x > 0]", "with torch.no_grad(): x = x * 2", "x = x.half().float()",
    "x = torch.utils.checkpoint.checkpoint(self.a, x, use_reentrant=False)", "raise StopIteration", "return", "pass",
    "self.count = getattr(self, 'count', 0) + 1", "self.kept = x", "x.register_hook(print)", "x = x.requires_grad_()",
    "x = torch.compile(lambda y: y + 1)(x)", "x = x.clone().fill_(0)", "x = x.expand(-1, 8, -1, -1)", "x = x.cuda()",
    "x = functional.interpolate(x, scale_factor=0.5)", "x = x.to('meta')", "x = x.tolist()", "assert x.dim() == 4",
    "x = x.as_strided((2, 2), (1, 1))", "x = x.new_zeros(10**6)", "x = torch.zeros(2**40)", "x.resize_(2**40)",
)  # fmt: skip
COMMANDS = (("report", "--format", "json"), ("compare", "--strategy", "full,last"), ("sweep", "--batch", "1..3"),
            ("export",), ("compare", "--strategy", "as_is", "--no-check"), ("plan", "--budget", "1MB"),
            ("explain", "a"), ("fit", "--budget", "1MB"))  # fmt: skip


def module(chance):
    """The text of a file with a module `Net`."""
    held = [f"        self.{name} = {chance.choice(LAYERS)}" for name in "abc" if chance.random() < 0.9]
    body = [f"        {chance.choice(LINES)}" for _ in range(chance.choice((1, 2, 3, 4)))]
    lines = [
        "import torch",
        "from torch import nn",
        "from torch.nn import functional",
        "import torch.utils.checkpoint",
        "class Net(nn.Module):",
        "    def __init__(self):",
        "        super().__init__()",
        *held,
        "    def forward(self, x):",
        *body,
        "        return x" if chance.random() < 0.9 else "",
    ]
    text = "\n".join(lines) + "\n"
    other = mutant(chance, text) if chance.random() < 0.1 else text
    return text if re.search(r"\d{6}", other) else other  # a layer of 10^9 numbers really is made


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("number", rounds(1, 30))
def test_modules(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def cases():
        for case in range(number * EACH, (number + 1) * EACH):
            chance = chance_of("modules", case)
            text = module(chance)
            written(tmp_path / f"net{case}.py", text)
            command = chance.choice(COMMANDS)
            source = f"net{case}.py:Net"
            yield (
                f"module {case} with {' '.join(command)}:\n{text}",
                (command[0], source, *command[1:], "--resolution", 8),
            )

    hold(cases())
