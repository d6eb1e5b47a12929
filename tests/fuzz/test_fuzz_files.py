"""Strategy files, tables, settings, documents and ONNX files that are wrong at random."""

import json

import numpy as np
import pytest
from fuzzing import chance_of, damaged, hold, mutant, rounds, written
from onnx import AttributeProto, helper, numpy_helper
from onnxfiles import STEM, around, integers, node, number, tensor

from specs import BLOCKS

EACH = 50
PLAN = """\
network: tiny
choices:
  stem: frozen
  blocks.0: bias
  blocks.1: mobiletl
  head: full
checkpoint: [blocks.0]
planned_for: {batch: 8, budget: 100}
"""
VALUES_CSV = "block,value\nstem,0.5\nblocks.0,1\nblocks.1,2.5\nhead,-1\n"
CHECKS = """\
[tool.costmodel]
batch = 2
target = "none"

[[tool.costmodel.check]]
name = "tiny fits"
network = "tiny.yaml"
strategy = "last"
budget = "1MB"

[[tool.costmodel.check]]
network = "tiny.yaml"
resolution = 16
budget = 100000
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a network."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "tiny.yaml", BLOCKS)
    return tmp_path


def mutants(kind, number, path, text, words, *commands):
    """A file with mutants of a text, or with damaged bytes, and a command that reads it."""
    for case in range(number * EACH, (number + 1) * EACH):
        chance = chance_of(kind, case)
        if case % 4:
            written(path, mutant(chance, text, words))
        else:
            path.write_bytes(damaged(chance, text.encode()))
        yield f"{kind} {case}", chance.choice(commands)


@pytest.mark.parametrize("number", rounds(1, 20))
def test_strategy_files(number, folder):
    words = ("frozen", "bias", "mobiletl", "full", "stem", "tail", "strategy", "plan:ffff")
    commands = (("compare", "tiny.yaml", "--strategy", "plan.yaml"), ("report", "tiny.yaml", "--strategy", "plan.yaml"),
                ("sweep", "tiny.yaml", "--strategy", "plan.yaml,last", "--batch", "1..3"))  # fmt: skip
    assert {0, 2} <= set(hold(mutants("plans", number, folder / "plan.yaml", PLAN, words, *commands)))


@pytest.mark.parametrize("number", rounds(1, 20))
def test_tables_of_values(number, folder):
    commands = (("plan", "tiny.yaml", "--budget", "1MB", "--batch", "2", "--maximise", "values.csv"),)
    assert 2 in hold(mutants("values", number, folder / "values.csv", VALUES_CSV, ("nan", "inf", "-inf"), *commands))


@pytest.mark.parametrize("number", rounds(1, 20))
def test_tables_of_a_grid(number, folder):
    hold([("the grid", ("sweep", "tiny.yaml", "--strategy", "full,last,blocks:1", "--batch", "1..3", "-o", "g.csv"))])
    text = (folder / "g.csv").read_text()
    commands = (("pareto", "g.csv"), ("pareto", "g.csv", "--figure", "a.svg", "--force"),
                ("pareto", "g.csv", "--format", "json"), ("pareto", "g.csv", "--budget", "1MB"))  # fmt: skip
    path = folder / "g.csv"
    assert {0, 2} <= set(hold(mutants("grids", number, path, text, ("nan", "inf", "-1", "full", "", "'=1"), *commands)))


@pytest.mark.parametrize("number", rounds(1, 20))
def test_settings(number, folder):
    commands = (("check", "--config", "checks.toml"), ("check", "--config", "checks.toml", "--why", "--format", "json"),
                ("check", "--config", "checks.toml", "--format", "github"),
                ("check", "--config", "checks.toml", "--format", "junit"))  # fmt: skip
    kinds = mutants(
        "settings", number, folder / "checks.toml", CHECKS, ("batch", "budget", "network", "true"), *commands
    )
    hold(kinds)


@pytest.mark.parametrize("number", rounds(1, 20))
def test_documents_of_earlier_checks(number, folder):
    written(folder / "checks.toml", CHECKS)
    hold([("the document", ("check", "--config", "checks.toml", "-o", "old.json"))])
    text = json.dumps(json.loads((folder / "old.json").read_text()), indent=1)
    commands = (("check", "--config", "checks.toml", "--diff", "old.json"),)
    path, words = folder / "old.json", ("null", "-1", "[]", "{}", '"x"')
    assert {0, 2} <= set(hold(mutants("documents", number, path, text, words, *commands)))


# -- ONNX files --------------------------------------------------------------------------------------------

NORM = [tensor(f"norm.{name}", 8) for name in ("weight", "bias", "running_mean", "running_var")]
BODIES = (
    ([node("BatchNormalization", "x norm.weight norm.bias norm.running_mean norm.running_var", "n"),
      node("Relu", "n", "y")], NORM),
    ([node("Shape", "x", "s"), node("Gather", "s zero", "b"), node("ConstantOfShape", "b", "c"),
      node("Expand", "one to", "e"), node("Add", "x e", "y")],
     [integers("zero", 0), number("one", 1), integers("to", 1, 8, 8, 8)]),
    ([node("Reshape", "x to", "r"), node("Transpose", "r", "t", perm=[0, 2, 1]), node("Softmax", "t", "p", axis=-1),
      node("MatMul", "r p", "m"), node("Reshape", "m back", "y")],
     [integers("to", 0, 8, -1), integers("back", 0, 8, -1, 8)]),
    ([node("Pad", "x pads", "p"), node("MaxPool", "p", "m", kernel_shape=[3, 3], strides=[2, 2]),
      node("Resize", "m _ scales", "r"), node("Slice", "r starts ends axes", "y")],
     [integers("pads", 0, 0, 1, 1, 0, 0, 1, 1), integers("starts", 0, 0), integers("ends", 8, 8),
      integers("axes", 2, 3),
      numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")]),
    ([node("Split", "x", "a b", axis=1), node("Mul", "a b", "m"), node("Concat", "m m", "y", axis=1)], []),
)  # fmt: skip
OPERATORS = ("Relu", "Add", "Conv", "Gemm", "Expand", "Tile", "Range", "Loop", "If", "ConstantOfShape", "Pad", "Resize",
             "Identity", "Cast", "Slice", "Flatten", "Einsum", "OneHot", "NonZero",
             "BatchNormalization", "LSTM", "Nothing")  # fmt: skip
READERS = (("compare", "net.onnx", "--batch", "2"), ("report", "net.onnx", "--allow-unknown"), ("export", "net.onnx"),
           ("sweep", "net.onnx", "--resolution", "8,16"))  # fmt: skip
INTEGERS = (0, 1, -1, 2, 3, 8, 10**6, 2**31, 2**62, -(2**63))


def altered(chance, model):
    """A model with one to three changes to its nodes, attributes, sizes and names."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        graph = model.graph
        one = chance.choice(list(graph.node))
        how = chance.randrange(10)
        if how == 0:
            one.op_type = chance.choice(OPERATORS)
        elif how == 1 and one.input:
            names = [name for other in graph.node for name in (*other.input, *other.output)]
            one.input[chance.randrange(len(one.input))] = chance.choice((*names, "", "nowhere"))
        elif how == 2 and one.attribute:
            changed_attribute(chance, chance.choice(list(one.attribute)))
        elif how == 3:
            one.attribute.append(helper.make_attribute(chance.choice(("axis", "to", "group", "pads", "p", "mode")), 3))
        elif how == 4 and graph.initializer:
            stored = chance.choice(list(graph.initializer))
            if stored.dims:
                stored.dims[chance.randrange(len(stored.dims))] = chance.choice(INTEGERS)
        elif how == 5 and graph.initializer:
            stored = chance.choice(list(graph.initializer))
            if stored.data_type == 7:  # int64: shapes and pads
                values = [chance.choice(INTEGERS) for _ in range(len(stored.raw_data) // 8)]
                stored.raw_data = b"".join(v.to_bytes(8, "little", signed=True) for v in values)
            else:
                stored.data_type = chance.randrange(25)
        elif how == 6:
            del graph.node[chance.randrange(len(graph.node))]
        elif how == 7:
            graph.node.append(chance.choice(list(graph.node)))
        elif how == 8:
            sizes = graph.input[0].type.tensor_type.shape.dim
            sizes[chance.randrange(len(sizes))].dim_value = chance.choice(INTEGERS)
        else:
            one.output[:] = [f"{name}{chance.choice('ab')}" for name in one.output]
        if not graph.node:
            break
    return model


def changed_attribute(chance, one):
    if one.type == AttributeProto.INT:
        one.i = chance.choice(INTEGERS)
    elif one.type == AttributeProto.INTS:
        one.ints[:] = [chance.choice(INTEGERS) for _ in range(chance.randrange(5))]
    else:
        one.f = chance.choice((0.0, -1.0, float("nan"), float("inf")))


@pytest.mark.parametrize("number", rounds(1, 40))
def test_onnx_files(number, folder):
    def cases():
        for case in range(number * EACH, (number + 1) * EACH):
            chance = chance_of("onnx", case)
            body, tensors = chance.choice(BODIES)
            model = around(body, tensors)
            content = altered(chance, model).SerializeToString() if case % 3 else model.SerializeToString()
            (folder / "net.onnx").write_bytes(content if case % 3 else damaged(chance, content))
            command = chance.choice(READERS)
            yield f"onnx {case} with {command[0]}", command

    assert 2 in hold(cases())


def test_the_bodies_are_right_before_they_are_changed(folder):
    for body, tensors in BODIES:
        model = around(body, tensors)
        (folder / "net.onnx").write_bytes(model.SerializeToString())
        assert STEM and hold([("unchanged", ("compare", "net.onnx"))]) == [0]
