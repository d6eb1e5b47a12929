"""250 bad modules and factories: no traceback, exit code 2, one message that names the place; JSON stays JSON."""

import itertools
import json

import pytest
from commandline import CliRunner
from real import seldom

from costmodel.cli import main

#: What goes wrong, as a statement.
WRONGS = {
    "raises": "raise RuntimeError('no luck')",
    "raises without words": "raise ValueError",
    "raises in two lines": "raise TypeError('first\\nsecond')",
    "asserts": "assert False, 'never'",
    "divides by zero": "1 / 0",
    "misses a key": "{}['key']",
    "misses an attribute": "nn.missing",
    "misses a name": "unheard_of",
    "misses a module": "import no_such_module_at_all",
    "misses a file": "open('/no/such/file')",
    "exits": "sys.exit()",
    "exits with 0": "sys.exit(0)",
    "exits with 3": "sys.exit(3)",
    "exits with words": "sys.exit('enough')",
    "quits": "raise SystemExit(0)",
    "stops an iteration": "raise StopIteration",
    "leaves a generator": "raise GeneratorExit",
    "recurses": "(lambda f: f(f))(lambda f: f(f))",
    "warns as an error": "raise UserWarning('careful')",
    "has no memory": "raise MemoryError('all used')",
    "is not implemented": "raise NotImplementedError",
    "has an error of its own": "class Own(Exception): pass\n    raise Own(42)",
    "has an error that cannot be printed": "class Mute(Exception):\n        __str__ = None\n    raise Mute",
    "raises from another": "raise KeyError('a') from ValueError('b')",
    "has a shape that does not fit": "torch.zeros(2, 3) @ torch.zeros(2, 3)",
}
HEAD = "import sys\nimport torch\nfrom torch import nn\nprint('hello')\n\n\ndef wrong():\n    {wrong}\n\n\n"
#: Where it goes wrong.
PLACES = {
    "import": "wrong()\nmade = nn.Linear(2, 2)\n",
    "a factory": "def made():\n    print('building')\n    wrong()\n    return nn.Linear(2, 2)\n",
    "a class": "class made(nn.Module):\n    def __init__(self):\n        super().__init__()\n        wrong()\n",
    "forward": "class made(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
               "        self.fc = nn.Conv2d(3, 4, 3)\n\n    def forward(self, x):\n        wrong()\n"
               "        return self.fc(x)\n",
    "a layer": "class Inner(nn.Module):\n    def forward(self, x):\n        wrong()\n        return x\n\n\n"
               "made = nn.Sequential(nn.Conv2d(3, 4, 3), Inner())\n",
}  # fmt: skip
#: What is not a module.
OTHERS = {
    name: f"import sys\nimport torch\nfrom torch import nn\nprint('hello')\n\n\n{text}\n"
    for name, text in {
        "a number": "made = 3",
        "nothing": "made = None",
        "a tensor": "made = torch.zeros(3)",
        "a text": "made = 'a network'",
        "a function that returns nothing": "def made():\n    pass",
        "a function that returns a class": "def made():\n    return nn.Linear",
        "a function that returns a list": "def made():\n    return [nn.Linear(2, 2)]",
        "a function that needs an argument": "def made(width):\n    return nn.Linear(2, 2)",
        "a function that needs a named argument": "def made(*, width):\n    return nn.Linear(2, 2)",
        "a class that needs an argument": "class made(nn.Module):\n    def __init__(self, width):\n        pass",
        "a class that is no module": "class made:\n    pass",
        "a class that forgets super": "class made(nn.Module):\n    def __init__(self):\n        self.fc = nn.ReLU()",
        "an abstract module": "class made(nn.Module):\n    pass",
        "a generator": "def made():\n    yield nn.Linear(2, 2)",
        "a coroutine": "async def made():\n    return nn.Linear(2, 2)",
        "a module": "made = torch",
        "a script": "made = torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3)))",
        "an embedding": "made = nn.Embedding(4, 4)",
        "a lazy layer": "made = nn.Sequential(nn.LazyConv2d(4, 3))",
        "a syntax error": "def made(:\n    pass",
        "an indentation": "def made():\nreturn 3",
        "two results": "class made(nn.Module):\n    def forward(self, x):\n        return x, x",
        "three axes": "made = nn.Sequential(nn.Flatten(2), nn.Linear(4, 4))",
    }.items()
}
COMMANDS = (["report"], ["report", "--format", "json"])
BAD = [
    *(((f"{wrong}, {place}"), HEAD.format(wrong=WRONGS[wrong]) + PLACES[place])
      for wrong, place in itertools.product(WRONGS, PLACES)),
    *OTHERS.items(),
]  # fmt: skip
CASES = [(name, text, command) for (name, text), command in itertools.product(BAD, COMMANDS)]


def cases():
    """Each tenth by default, all of them under -m slow."""
    marked = [pytest.param(*case, id=f"{case[0]} {' '.join(case[2])}") for case in CASES]
    return [*marked[::7], *seldom(*(case for n, case in enumerate(CASES) if n % 7))]


def test_there_are_250_of_them():
    assert len(CASES) >= 250 and len({name for name, _ in BAD}) == len(BAD)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name, text, command", cases())
def test_a_bad_factory_is_one_message(name, text, command, tmp_path):
    path = tmp_path / "net.py"
    path.write_text(text)
    result = CliRunner().invoke(main, [command[0], f"{path}:made", *command[1:], "--resolution", "16"])
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    assert result.stdout == "" and "Traceback" not in result.stderr
    said = [line for line in result.stderr.splitlines() if line not in ("hello", "building")]
    assert len([line for line in said if line.startswith("Error: ")]) == 1 and said[0].startswith("Error: ")


@pytest.mark.parametrize("where", ["", "def made():\n    print('building')\n    return "])
def test_json_stays_json_when_a_factory_prints(where, tmp_path):
    path = tmp_path / "net.py"
    body = "nn.Sequential(nn.Conv2d(3, 4, 3), Loud(), nn.AdaptiveAvgPool2d(1), nn.Flatten())"
    loud = "class Loud(nn.Module):\n    def forward(self, x):\n        print('running')\n        return x\n\n\n"
    path.write_text(f"from torch import nn\nprint('hello')\n\n\n{loud}{where or 'made = '}{body}\n")
    result = CliRunner().invoke(main, ["report", f"{path}:made", "--format", "json", "--resolution", "16"])
    assert result.exit_code == 0 and json.loads(result.stdout)["parameters"] == 4 * 3 * 9 + 4
