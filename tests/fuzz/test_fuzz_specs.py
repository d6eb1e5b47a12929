"""Specs that are wrong at random: 3,000 mutants, and 5,000 nodes of every op with any fields."""

import re
from dataclasses import MISSING, fields

import pytest
from fuzzing import chance_of, hold, mutant, rounds, written

import costmodel  # noqa: F401  (registers the ops)
from costmodel.files.shipped import SPECS
from costmodel.graph.op import OPS
from specs import BLOCKS, NODES, ONE_BLOCK

EACH = 100
TEXTS = (BLOCKS, NODES, ONE_BLOCK, *((SPECS / f"networks/{name}.yaml").read_text()
         for name in ("mcunet_5fps", "mobilenet_v3_small", "mobilenet_v4_conv_small")))  # fmt: skip
COMMANDS = (("compare", "--batch", "2", "--target", "none"), ("report", "--layers"), ("export",),
            ("fit", "--budget", "1MB"), ("sweep", "--batch", "1..3", "--resolution", "8..40:16"),
            ("compare", "--strategy", "last", "--strategy", "mobiletl:1"))  # fmt: skip


@pytest.mark.parametrize("number", rounds(1, 30))
def test_mutants(number, tmp_path):
    def cases():
        for case in range(number * EACH, (number + 1) * EACH):
            chance = chance_of("specs", case)
            path = written(tmp_path / "net.yaml", mutant(chance, chance.choice(TEXTS[:3] if case % 4 else TEXTS), OPS))
            command = chance.choice(COMMANDS)
            yield f"mutant {case} with {' '.join(command)}", (command[0], path, *command[1:])

    assert 2 in hold(cases())


# -- nodes of every op -------------------------------------------------------------------------------------

#: Two thirds of the cases have mild numbers, which many ops take; the others have all.
MILD = (0, 1, 1, 1, 2, 2, 3, 3, 4, 8, -1)
INTEGERS = (*MILD, 5, 16, -2, 7, 100, 2**31, 2**62, 2**63, 10**20)
FLOATS = (0.0, 0.1, 0.5, 1.0, 1.5, -1.0, 1e-5, 1e300, "inf", "nan")
TEXT = ("", "none", "tanh", "bilinear", "nearest", "reflect", "weight", "bias", "x", "classes", "constant", "mean")


def field(chance, annotation, wild):
    """A value for a field of an op, mostly of its type."""
    integers = INTEGERS if wild else MILD
    integer = chance.choice(integers)
    if wild and chance.random() < 0.1:
        return chance.choice((None, "x", [], [[1]], True, 1.5, {"a": 1}, -1))
    return {
        "int": integer,
        "float": chance.choice(FLOATS if wild else FLOATS[:5]),
        "bool": chance.random() < 0.5,
        "str": chance.choice(TEXT),
        "Pair": integer if chance.random() < 0.5 else [integer, chance.choice(integers)],
        "float | None": chance.choice((None, *FLOATS)),
        "Factors": [chance.choice(FLOATS[:6]) for _ in range(chance.randrange(4))],
        "Sizes": [chance.choice(integers) for _ in range(chance.randrange(5))],
        "Axes": [chance.choice(integers) for _ in range(chance.randrange(5))],
    }[annotation]


def drawn(chance, name, kind, made, wild):
    """A node of an op as YAML: what it must have, some of what it may have, inputs from those made so far."""
    row = {"name": name, "op": kind}
    for one in fields(OPS[kind]):
        if chance.random() < (0.9 if one.default is MISSING else 0.3):
            row[one.name] = field(chance, str(one.type), wild)
    count = len(OPS[kind].inputs) if isinstance(OPS[kind].inputs, tuple) else chance.randrange(1, 4)
    row["inputs"] = [chance.choice(made) for _ in range(count)]
    if wild and chance.random() < 0.2:
        row["trains"] = [chance.choice(("weight", "bias", "nothing"))]
    return "  - {" + ", ".join(f"{key}: {shown(value)}" for key, value in row.items()) + "}"


def shown(value):
    """A value in YAML."""
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, dict):
        return "{a: 1}"
    names = {None: "null", True: "true", False: "false", "inf": ".inf", "nan": ".nan", "": "''"}
    return str(names[value]) if isinstance(value, (bool, str, type(None))) and value in names else str(value)


HEADS = ("resolution: 8", "resolution: 4", "resolution: 1", "inputs: [5x7]", "inputs: ['9:int64']",
         "inputs: [3x4x6x6]")  # fmt: skip
ASKED = (("compare", "--batch", "2", "--format", "json"), ("report", "--format", "json"), ("export",),
         ("report", "--layers", "--target", "none"), ("sweep", "--batch", "1..3", "--format", "json"),
         ("compare", "--strategy", "as_is", "--strategy", "inference", "--format", "json"))  # fmt: skip


def negative(told):
    """The numbers below 0 in a document, which no cost may be."""
    return re.findall(r'"\w+(?:_bytes|_flops|parameters)": -\d+', told)


@pytest.mark.parametrize("number", rounds(2, 50))
def test_nodes_of_every_op(number, tmp_path):
    def cases():
        for case in range(number * EACH, (number + 1) * EACH):
            chance, wild = chance_of("nodes", case), case % 3 == 0
            kinds = sorted(OPS)
            many = [kinds[(case + step * 37) % len(kinds)] for step in range(chance.choice((1, 1, 2, 3)))]
            made, nodes = ["input"], []
            for i, kind in enumerate(many):
                nodes.append(drawn(chance, f"n{i}", kind, made[-1:] if chance.random() < 0.7 else made, wild))
                made.append(f"n{i}")
            text = "\n".join(["network: drawn", "classes: 3", chance.choice(HEADS), "nodes:", *nodes]) + "\n"
            path = written(tmp_path / "net.yaml", text)
            command = chance.choice(ASKED)
            yield f"nodes {case} with {' '.join(command)}:\n{text}", (command[0], path, *command[1:])

    codes = hold(cases(), negative)
    assert {0, 2} <= set(codes)
