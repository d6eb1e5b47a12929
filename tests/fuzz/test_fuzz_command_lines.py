"""Command lines that are wrong at random, and strategies, targets, sizes and axes within them."""

import click
import pytest
from fuzzing import NUMBERS, VALUES, chance_of, hold, mutant, rounds, written

from costmodel.cli import COMMANDS, LazyGroup, main
from costmodel.ops._named_loss import LOSSES
from costmodel.strategies import STRATEGIES
from specs import BLOCKS

EACH, LINES = 20, 15  # mutants of an option's texts, and command lines, in a round
#: Texts of which mutants are made, by the name of an option or argument.
TEXTS = {
    "network": ("tiny.yaml", "mcunet_5fps", "torchvision:nothing", "timm:nothing", "net.py:Net", "no.onnx", "x:y:z"),
    "layer": ("stem.conv", "blocks.0.expand.conv", "classifier", "head"),
    "strategy": (
        "full", "last", "blocks:1", "mobiletl:2", "norm+last", "blocks:1,checkpoint=blocks", "tinytl-l", "bias",
        "inference", "as_is", "plan:ffff", "plan:fbmt", "full,last,blocks:1..2", "full,checkpoint=blocks.0",
        "mobiletl:1,prefix_slices=2", "plan.yaml",
    ),
    "batch": ("1", "2", "8", "1..4", "1..9:2", "1,3,5"),
    "resolution": ("32", "16x24", "16..32:8", "8,16"),
    "classes": ("10", "2"),
    "width": ("1.0", "0.5", "0.25,0.5"),
    "convention": ("torch", "lean", "ideal", "mobiletl", "tinytl", "torch,lean"),
    "optimizer": ("sgd", "momentum", "adam", "adam,foreach", "adamw,fused", "nadam"),
    "target": ("cpu", "cpu,threads=2,isa=avx2", "cpu,channels_last", "cuda", "none", "none,threads=3"),
    "dtype": ("float32", "bf16", "fp16"),
    "amp": ("bfloat16", "float16", "none"),
    "accumulate": ("1", "2", "1..3"),
    "loss": (*LOSSES, "cross_entropy,label_smoothing=0.1", "loss.py:loss", "mse,reduction=sum"),
    "inputs": ("3x8x8", "77:int64", "a=5:float32"),
    "budget": ("64MB", "256KiB", "1e6", "10", "1.5GiB"),
    "max": ("batch", "resolution", "blocks", "batch,1..9"),
    "figure_size": ("column", "84mm", "3.3x2.4in", "10in"),
    "shard": ("1/2", "2/2", "1/1"),
    "output": ("a.csv", "a.parquet", "a.yaml", "a.txt", "nowhere/a.csv", "tiny.yaml"),
    "figure": ("a.svg", "nowhere/a.svg", "a.gif", "tiny.yaml"),
    "blocks_are": ("blocks.*", "Block", "[", "("),
    "config": ("checks.toml", "tiny.yaml", "no.toml"),
    "since": ("tiny.yaml", "no.json"),
    "maximise": ("trainable_parameters", "values.csv", "no.csv"),
    "targets": ("loss.py:targets", "x"),
    "device": ("raspberry_pi_4b", "raspberry_pi_4b,memory=1GB", "jetson_tx2,cpu", "stm32f746", "phone_ios", "x.yaml"),
    "devices": ("raspberry_pi_4b,stm32f746", "jetson_nano,cpu", "x", "tiny.yaml"),
    "battery": ("5000mAh", "18.5Wh", "5"),
}  # fmt: skip


def parameters(name):
    """The parameters of a command."""
    return LazyGroup().get_command(click.Context(main), name).params


def value(chance, parameter):
    """A value for a parameter: mostly one that it takes, or a mutant of one."""
    name = parameter.name or ""
    if isinstance(parameter.type, click.Choice) and chance.random() < 0.9:
        return chance.choice(list(parameter.type.choices))
    key = next((key for key in (name, name.rstrip("s"), name.partition("_")[0]) if key in TEXTS), None)
    if key is None or chance.random() < 0.05:
        return chance.choice((*VALUES, *NUMBERS)).replace("\0", "")
    text = chance.choice(TEXTS[key])
    words = (*STRATEGIES, *NUMBERS) if key == "strategy" else NUMBERS
    return text if chance.random() < 0.7 else mutant(chance, text, words)


def line(chance):
    """A command with arguments and options."""
    name = chance.choice([name for name in COMMANDS if name != "calibrate"])  # which takes half a minute
    words = [name]
    for parameter in parameters(name):
        if isinstance(parameter, click.Argument):
            words += [value(chance, parameter)] if chance.random() < 0.97 else []
        elif parameter.name != "help" and chance.random() < (0.9 if parameter.required else 0.18):
            words.append(chance.choice([one for one in parameter.opts if one.startswith("--")] or parameter.opts))
            if not getattr(parameter, "is_flag", False):
                words.append(value(chance, parameter))
    if chance.random() < 0.1:
        words.insert(chance.randrange(len(words) + 1), chance.choice(("--", "-", "--no-such", "-x", "more", "--batch")))
    return [word.replace("\0", "").encode("utf-8", "replace").decode() for word in words]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a network, a strategy and a module."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "tiny.yaml", BLOCKS)
    written(tmp_path / "plan.yaml", "network: tiny\nstrategy: last\n")
    written(
        tmp_path / "loss.py",
        "import torch\n\ndef loss(y, t):\n    return y.sum()\n\ndef targets(n):\n    return None\n",
    )
    written(tmp_path / "net.py", "from torch import nn\nNet = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())\n")
    written(tmp_path / "values.csv", "block,value\nblocks.0,1\nblocks.1,2\n")
    written(tmp_path / "checks.toml", '[[tool.costmodel.check]]\nnetwork = "tiny.yaml"\nbudget = "1MB"\n')
    return tmp_path


@pytest.mark.parametrize("number", rounds(1, 66))
def test_command_lines(number, folder):
    def cases():
        for case in range(number * LINES, (number + 1) * LINES):
            words = line(chance_of("lines", case))
            yield f"line {case}: {words}", words

    hold(cases())


@pytest.mark.one_in(4)
@pytest.mark.parametrize("number", rounds(1, 50))
@pytest.mark.parametrize("option", ["strategy", "target", "optimizer", "budget", "loss", "resolution", "batch"])
def test_texts_of_one_option(option, number, folder):
    """Mutants of what an option takes, with a network that takes all of it."""

    def cases():
        for case in range(number * EACH, (number + 1) * EACH):
            chance = chance_of(option, case)
            text = mutant(chance, chance.choice(TEXTS[option]), (*STRATEGIES, *NUMBERS))
            text = text.replace("\0", "").encode("utf-8", "replace").decode()
            command = chance.choice(("compare", "sweep", "fit"))
            more = ("--budget", "1MB") if command == "fit" and option != "budget" else ()
            command = "report" if option == "budget" else command
            yield f"{option} {case}: {text!r}", (command, "tiny.yaml", *more, f"--{option}={text}")

    hold(cases())
