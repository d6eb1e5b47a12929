"""Bad specs: each error is one message that names its place."""

import subprocess
import sys

import pytest

import costmodel
from costmodel.errors import CostmodelError
from specs import BLOCKS, NODES, changed

IN_BLOCKS = [
    # (text in the spec, its replacement, where, what was found, what is allowed)
    ("classes: 10", "clases: 10", "unknown key 'clases'", "did you mean 'classes'?", "(allowed: activation, "),
    ("out: 16", "ot: 16", "line 8, stages[0]", "unknown key 'ot'; did you mean 'out'?", "(allowed: activation, "),
    ("op: flatten,", "op: flaten,", "line 11, tail[1]", "unknown op 'flaten'; did you mean 'flatten'?", "(allowed: "),
    ("op: flatten,", "op: flatten, axis: 1,", "line 11, tail[1]", "unknown key of flatten 'axis'", "(allowed: none)"),
    (
        "gate: {op: hardsigmoid}",
        "gate: {op: hardsigmod}",
        "line 8, stages[0]",
        "unknown op 'hardsigmod'; did you mean 'hardsigmoid'?",
        "(allowed: ",
    ),
    ("{gate: {op: hardsigmoid}}", "{gate: {}}", "gate", "'op' is missing", ""),
    ("classes: 10", "classes: 10\nactivation: {inplace: true}", "activation", "'op' is missing", ""),
    ("classes: 10", "classes: 10\nnorm: {op: [batch_norm]}", "norm", "['batch_norm']", "allowed: "),
    ("{gate: {op: hardsigmoid}}", "{of: middle}", "squeeze_excite.of", "unknown value 'middle'", "expanded, input"),
    ("{gate: {op: hardsigmoid}}", "{ratio: -1}", "squeeze_excite.ratio", "-1", "allowed: "),
    (
        "expand: 2",
        "kind: inverted",
        "line 8, stages[0].kind",
        "'inverted'; did you mean 'inverted_residual'?",
        "(allowed: basic, conv, inverted_residual, universal)",
    ),
    ("expand: 2", "expand: 0", "line 8, stages[0].expand", "found 0", "allowed: "),
    ("expand: 2", "expand: -3", "line 8, stages[0].expand", "found -3", "allowed: "),
    ("expand: 2", "expand: .nan", "line 8, stages[0].expand", "found nan", "a number"),
    ("expand: 2", "expand: two", "line 8, stages[0].expand", "found 'two'", "a number"),
    ("expand: 2", "expand: 2, expanded: 16", "line 8, stages[0]", "expanded", "allowed: "),
    ("out: 16", "out: 16, kernel: 0", "line 8, stages[0].kernel", "found 0", "an integer >= 1"),
    ("stride: 2, repeat", "stride: 0, repeat", "line 8, stages[0].stride", "found 0", "an integer >= 1"),
    ("repeat: 2", "repeat: 1000000000", "stages", "1000000000 blocks", "at most 10000"),
    ("kernel: 3", "kernel: [3, 3, 3]", "line 6, stem[0]", "[3, 3, 3]", "an integer or a list of two"),
    ("kernel: 3", "kernel: [a, b]", "line 6, stem[0]", "'a'", "allowed: an integer"),
    ("kernel: 3", "kernel: true", "line 6, stem[0].kernel", "found True", "an integer"),
    ("resolution: 32", "resolution: big", "resolution", "found 'big'", "an integer"),
    ("resolution: 32", "resolution: 32.5", "resolution", "found 32.5", "an integer"),
    ("resolution: 32", "resolution: true", "resolution", "found True", "an integer"),
    ("resolution: 32", "resolution:", "resolution", "found None", "an integer"),
    ("resolution: 32", "resolution: -1", "resolution", "found -1", "an integer >= 1"),
    (
        "resolution: 32\n",
        "",
        "line 1",
        "the input's size is missing or given twice; allowed: 'resolution' or 'inputs'",
        "",
    ),
    ("out: 16, ", "", "line 8, stages[0]", "'out' is missing", ""),
    (", at: flatten", "", "line 11, tail[1]", "'at' is missing", ""),
    ("at: flatten", "at: pool", "line 11, tail[1]", "two nodes are called 'pool'", ""),
    ("at: flatten", "at: ''", "line 11, tail[1]", "''", "allowed: "),
    ("at: flatten", "at: a..b", "line 11, tail[1]", "'a..b'", "allowed: "),
    ("classes: 10", "classes: 0", "classes", "found 0", "an integer >= 1"),
    ("classes: 10", "classes: 10\nclasses: 11", "line 4", "the key 'classes' stands twice", ""),
    (
        "classes: 10",
        "classes: 10\nmodules: plan",
        "modules",
        "unknown naming 'plan'; did you mean 'plain'?",
        "(allowed: mit_han_lab, ",
    ),
    ("classes: 10", "classes: 10\ndtype: float31", "line 1", "unknown dtype 'float31'", "did you mean 'float32'?"),
    ("classes: 10", "classes: 10\nidle: [{name: classifier.weight, size: [5]}]", "line 1", "weight stands twice", ""),
    ("classes: 10", "classes: 10\nidle: [{name: w, size: [5]}, {name: w, size: [5]}]", "line 1", ".w stands twice", ""),
    ("classes: 10", "classes: 10\ncheckpointed: [head]", "line 4, checkpointed", "no node stands in 'head'", ""),
    ("classes: 10", "classes: 10\ncheckpointed: [a..b]", "line 1", "'a', where a part that runs again begins", ""),
    ("classes: 10", "classes: 10\nstateful: [1]", "stateful", "[1]", "allowed: a list of scopes"),
    ("classes: 10", "classes: 10\nidle: [{name: w}]", "line 4, idle[0]", "'size' is missing", ""),
    ("classes: 10", "classes: 10\nidle: [{name: w, size: [-1]}]", "line 4, idle[0].size", "[-1]", "at least 0"),
    ("classes: 10", "classes: 10\nidle_buffers: [w]", "idle_buffers[0]", "found 'w'", "allowed: a mapping"),
    (
        "classes: 10",
        "classes: 10\nidle_buffers: [{name: w, size: [1], bits: 0}]",
        "line 4, idle_buffers[0].bits",
        "found 0",
        "an integer >= 8",
    ),
    ("classes: 10", "classes: 10\nclassifier: head", "line 1", "no node stands in 'head'", ""),
    ("classes: 10", "classes: 10\nwidth: 0", "width", "width is 0", "allowed: a number > 0, at most 1000"),
    ("classes: 10", "classes: 10\nstochastic_depth: 2", "stochastic_depth", "2", "allowed: "),
    (
        "classes: 10",
        "classes: 10\nactivation: {op: relu, inplace: 'yes'}",
        "line 7, stem[0]",
        "inplace is 'yes'",
        "true or false",
    ),
    (
        "classes: 10",
        "classes: 10\nactivation: {op: gelu, approximate: fast}",
        "line 7, stem[0]",
        "approximate is 'fast'",
        "none, tanh",
    ),
    ("squeeze_excite: {gate: {op: hardsigmoid}}\n", "", "line 1", "a stage has squeeze_excite", "the network must say"),
    ("out_features: classes", "out_features: clases", "line 12, tail[2]", "out_features is 'clases'", "an integer"),
    (
        "out_features: classes",
        "out_features: 9, in_features: 3",
        "line 12, tail[2]",
        "the input has 16 features",
        "the layer takes 3",
    ),
    (
        "op: adaptive_avg_pool2d,",
        "op: avg_pool2d, kernel: 9,",
        "line 10, tail[0]",
        "no output: the window 9x9",
        "does not fit into 2x16x8x8",
    ),
    ("resolution: 32", f"resolution: {10**30}", "line 2, resolution", str(10**30), "64 bits"),
    ("conv: 8", f"conv: {2**63 - 1}", "line 8, stages[0]", str(2 * (2**63 - 1)), "an integer of at most 64 bits"),
]


IN_NODES = [
    ("op: mean", "op: mean, until: nope", "nodes", "'nope'", "allowed: it or a later node"),
    ("op: mean", "op: mean, until: conv", "nodes", "'conv'", "allowed: it or a later node"),
    (
        "op: mean",
        "op: mean, inputs: [cnv]",
        "line 6, nodes[1]",
        "unknown input 'cnv'; did you mean 'conv'?",
        "(allowed: conv, input)",
    ),
    ("op: mean", "op: mean, inputs: [fc]", "nodes[1]", "'fc'", "cycle"),
    ("op: mean", "op: mean, inputs: [pool]", "nodes[1]", "'pool'", "cycle"),
    ("op: mean", "op: mean, inputs: conv", "line 6, nodes[1].inputs", "found 'conv'", "a list"),
    ("op: mean", "op: mean, inputs: [1]", "line 6, nodes[1].inputs", "found [1]", "names of nodes"),
    ("op: mean", "op: mean, inputs: [input]", "line 1", "no node reads 'conv'", "not the result"),
    ("op: mean", "op: add, inputs: [conv]", "line 6, nodes[1]", "1 inputs", "add takes 2"),
    ("op: mean", "op: add, inputs: [conv, input]", "line 6, nodes[1]", "2x8x6x6 and 2x3x8x8", "do not broadcast"),
    (
        "op: mean",
        "op: conv2d, out_channels: 3, kernel: 3, inputs: [conv, input]",
        "line 6, nodes[1]",
        "2 inputs",
        "conv2d takes 1",
    ),
    ("op: mean", "op: pad_same, kernel: [3, 3], stride: [0, 2]", "line 6, nodes[1]", "stride is [0, 2]", ">= 1"),
    (
        "op: mean}",
        "op: mean, axes: [0, 1, 2]}\n  - {name: norm, op: batch_norm}",
        "line 7, nodes[2]",
        "an input of shape 6",
        "too few axes for batch_norm",
    ),
    ("op: mean", "op: mean, axes: [-1]", "line 6, nodes[1]", "axes is (-1,)", "allowed: each >= 0"),
    ("name: pool, ", "", "line 6, nodes[1]", "'name' is missing", ""),
    (", op: mean", "", "line 6, nodes[1]", "'op' is missing", ""),
    ("op: mean", "op: 3", "line 6, nodes[1].op", "found 3", "a text"),
    ("out_channels: 8, ", "", "line 5, nodes[0]", "conv2d lacks 'out_channels'", ""),
    (
        "out_channels: 8",
        "out_channels: 8, in_channels: 4",
        "line 5, nodes[0]",
        "the input has 3 channels",
        "the convolution takes 4",
    ),
    ("kernel: 3", "kernel: 9", "line 5, nodes[0]", "no output: the kernel 9x9", "does not fit into the input 2x3x8x8"),
    ("kernel: 3", "kernel: 3, groups: 2", "line 5, nodes[0]", "groups 2 does not divide in_channels 3", ""),
    ("classes: 4", "classes: 4\nblocks: [b]", "line 1", "no node stands in 'b'", ""),
    ("classes: 4", "classes: 4\nwidth: 0.5", "line 1", "a list of nodes has no width multiplier", "allowed: width 1"),
    (
        "classes: 4",
        "classes: 4\nstem: [{conv: 3, at: [a]}]",
        "line 1",
        "'nodes' stands beside 'stem'",
        "allowed: one of the two",
    ),
    (
        "{name: pool, ",
        "{name: again@conv, op: conv2d, out_channels: 8, kernel: 1}\n  - {name: pool, ",
        "conv",
        "(8, 8, 1, 1)",
        "(8, 3, 3, 3)",
    ),
]


NOT_SPECS = [
    (b"", "", "found nothing", "a mapping"),
    (b"# only a comment\n", "", "found nothing", "a mapping"),
    (b"- a\n- b\n", "", "found a list", "a mapping"),
    (b"hello\n", "", "found a single value", "a mapping"),
    (b"\x00\x01\xff\xfe", "", "cannot read", "UTF-8 text"),
    (b"\x00\x01\x02", "", "not valid YAML", ""),
    (b"network: [a\n", "line 2", "not valid YAML", ""),
    (b"network:\n\t- a\n", "line 2", "not valid YAML", ""),
    (
        b"network: !!python/object/apply:os.system [echo]\n",
        "line 1, network",
        "python/object/apply:os.system",
        "allowed: plain values",
    ),
    (b"network: !mine x\n", "line 1, network", "'!mine'", "allowed: plain values"),
    (b"network: !!int abc\n", "line 1, network", "'abc' is no int", ""),
    (b"network: !!bool abc\n", "line 1, network", "'abc' is no bool", ""),
    (b"network: !!timestamp abc\n", "line 1, network", "'abc' is no timestamp", ""),
    (b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "line 1", "anchors and aliases", "not allowed"),
    (b"network: " + b"[" * 5000 + b"]" * 5000, "line 1", "nested deeper", "20 levels"),
    (b"network: " + b"{a: " * 2000 + b"1" + b"}" * 2000, "line 1", "nested deeper", "20 levels"),
    (b"resolution: " + b"9" * 5000, "line 1, resolution", "9" * 40, ""),  # Python may not read so many digits
    (b"#" + b"x" * 2**25, "", "cannot read", "allowed: at most 33.55 MB"),
    (b"resolution: 8\nclasses: 2\nnetwork: nothing\n", "line 1", "the network has no layers", "'nodes'"),
]


def said(path, *parts):
    """Loading or estimating raises one line with the file's name and all these parts."""
    with pytest.raises(CostmodelError) as caught:
        costmodel.estimate(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 1000
    missing = [part for part in ("tiny.yaml", *parts) if part not in message]
    assert not missing, message


@pytest.mark.parametrize("old, new, where, found, allowed", IN_BLOCKS)
def test_bad_specs_of_blocks(spec_file, old, new, where, found, allowed):
    said(spec_file(changed(BLOCKS, old, new)), where, found, allowed)


@pytest.mark.parametrize("old, new, where, found, allowed", IN_NODES)
def test_bad_specs_of_nodes(spec_file, old, new, where, found, allowed):
    said(spec_file(changed(NODES, old, new)), where, found, allowed)


@pytest.mark.parametrize("content, where, found, allowed", NOT_SPECS, ids=range(len(NOT_SPECS)))
def test_files_that_are_no_specs(spec_file, content, where, found, allowed):
    said(spec_file(content), where, found, allowed)


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_a_megabyte_of_nesting_is_an_error_and_no_crash(spec_file, opening):
    # In a process of its own, since a parser that recurses without bound crashes the whole process.
    text = "network: " if opening in "[{a: " else ""
    path = spec_file(text + opening * (900_000 // len(opening)))
    code = "import sys, costmodel\ntry: costmodel.load(sys.argv[1])\nexcept costmodel.CostmodelError as e: print(e)"
    run = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=20)
    assert run.returncode == 0, run.stderr
    assert "nested deeper than 20 levels" in run.stdout


@pytest.mark.parametrize("number", ["0x" + "f" * 10_000, "0b" + "1" * 10_000, "1" + ":1" * 3000, "0." + "1" * 5000])
def test_numbers_that_take_the_square_of_their_length(number, spec_file):
    said(spec_file(changed(BLOCKS, "resolution: 32", f"resolution: {number}")), "line 2, resolution", "64 bits")
