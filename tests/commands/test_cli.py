"""The command line: what it prints, its exit codes, and that a bad request costs one message and nothing else."""

import csv
import io
import json
import re

import pytest
from commandline import CliRunner

import costmodel
from costmodel.cli import COMMANDS, main

THERE = ("--target", "cpu,threads=2,isa=avx512")  # the same figures on every machine


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_the_main_job():
    result = run("report", "mobilenet_v2", "--strategy", "mobiletl:5", "--batch", 8, "--budget", "64MB", *THERE)
    assert result.exit_code == 1  # 64 MB do not hold it
    for line in (
        "mobilenet_v2, mobiletl:5, batch 8 of 3x224x224, sgd, float32",
        "parameters 14.02 14.02",
        "activations that are not saved 54.59 54.59",
        "saved for the backward pass 70.78 25.33 25.33",
        "convolutions and linear layers 4.81 G 3.46 G 8.27 G",
        "Into 64.00 MB, torch: does not fit, 48.10 MB are missing.",
    ):
        assert line in re.sub(" +", " ", result.stdout)
    assert result.stderr == ""


def test_json_is_the_estimates_and_nothing_else():
    result = run("report", "mobilenet_v2", "--strategy", "blocks:5", "--budget", "1GB", "--format", "json", *THERE)
    document = json.loads(result.stdout)
    assert result.exit_code == 0 and document.pop("fits") is True
    estimate = costmodel.estimate("mobilenet_v2", "blocks:5", target=THERE[1])
    assert document == json.loads(json.dumps(estimate.to_dict()))
    assert document["memory_bytes"]["saved"] == 70_843_716 and document["memory_bytes"]["step_peak"] == 93_130_112
    assert set(document) == {
        "network",
        "strategy",
        "convention",
        "batch",
        "input_shape",
        "inputs",
        "parameters",
        "trainable_parameters",
        "memory_bytes",
        "flops",
        "peak_at",
        "at_peak",
        "target",
        "amp",
        "optimizer",
        "accumulate",
        "loss",
        "notes",
        "certainty",
        "blocks",
    }
    assert sum(document["at_peak"].values()) == document["memory_bytes"]["step_peak"]
    for total, part in (("saved", "saved"), ("parameters", "parameters")):
        whole = document["memory_bytes"][total] if part == "saved" else document["parameters"]
        assert sum(block[part] for block in document["blocks"]) == whole
    assert sum(block["forward_flops"] for block in document["blocks"]) == document["flops"]["forward"]
    assert sum(block["backward_flops"] for block in document["blocks"]) == document["flops"]["backward"]


def test_csv_has_a_line_for_every_block_or_layer():
    rows = list(csv.DictReader(io.StringIO(run("report", "mobilenet_v2", "--format", "csv").stdout)))
    blocks = [row for row in rows if row["table"] == "blocks"]
    assert len(blocks) == 1 + 17 + 1 + 1 + 1  # stem, blocks, head, classifier, loss
    steps = {row["convention"]: row for row in rows if row["table"] == "steps"}
    assert [*steps] == ["torch", "lean", "ideal"] and len(rows) == len(blocks) + 3
    assert sum(int(row["saved_bytes"]) for row in blocks) == int(steps["torch"]["saved_bytes"])
    assert steps["ideal"]["peak_bytes"] == ""
    rows = csv.DictReader(io.StringIO(run("report", "mobilenet_v2", "--layers", "--format", "csv").stdout))
    layers = [row["part"] for row in rows if row["table"] == "layers"]
    assert layers[:3] == ["features.0.0", "features.0.1", "features.0.2"]


def test_markdown():
    assert "| strategy" in run("compare", "mcunet_5fps", "--strategy", "last", "--format", "markdown").stdout


def test_trace_is_a_chrome_trace():
    trace = json.loads(run("report", "mcunet_5fps", "--batch", 1, "--format", "trace").stdout)
    counters = [e for e in trace["traceEvents"] if e["ph"] == "C"]
    slices = [e for e in trace["traceEvents"] if e["ph"] == "X"]
    estimate = costmodel.estimate("mcunet_5fps", batch=1)
    assert max(sum(e["args"].values()) for e in counters) == estimate.step_peak_bytes
    assert sum(e["dur"] for e in slices) == len(counters) == len(estimate.memory.timeline.events)


@pytest.mark.parametrize("suffix, start", [("pdf", b"%PDF")])
def test_figure(tmp_path, suffix, start):
    path = tmp_path / f"step.{suffix}"
    result = run("report", "mcunet_5fps", "--batch", 1, "--figure", path)
    assert result.exit_code == 0 and path.read_bytes().startswith(start)
    assert list(tmp_path.iterdir()) == [path]


def test_fit_says_yes_or_no_with_the_exit_code():
    yes = run("fit", "mobilenet_v2", "--strategy", "last", "--budget", "200MB", *THERE)
    no = run("fit", "mobilenet_v2", "--strategy", "full", "--budget", "200MB", *THERE)
    assert (yes.exit_code, no.exit_code) == (0, 1)
    assert yes.stdout.startswith("yes: The peak of 112.10 MB leaves 87.90 MB of 200.00 MB.")
    assert no.stdout.startswith("no: the peak of 649.04 MB exceeds 200.00 MB by 449.04 MB.")
    most = json.loads(
        run("fit", "mobilenet_v2", "--budget", "200MB", "--max", "batch", "--format", "json", *THERE).stdout
    )
    assert most["max"] == {"batch": most["batch"]} and most["fits"] and 0 <= most["headroom_bytes"]


@pytest.mark.parametrize("command", ["report", "compare", "fit"])
def test_a_budget_below_the_parameters_does_not_hold(command):
    result = run(command, "mobilenet_v2", "--budget", "1MB", "--format", "json")
    answers = json.loads(result.stdout)
    assert result.exit_code == 1 and result.stderr == ""
    assert not any(answer["fits"] for answer in (answers if command == "compare" else [answers]))
    if command != "compare":
        assert (
            "The parameters and buffers alone take 14.16 MB." in run(command, "mobilenet_v2", "--budget", "1MB").stdout
        )


def test_compare_fits_if_one_does():
    assert (
        run("compare", "mobilenet_v2", "--strategy", "full", "--strategy", "last", "--budget", "150MB").exit_code == 0
    )
    assert run("compare", "mobilenet_v2", "--strategy", "full", "--budget", "150MB").exit_code == 1


def test_lists_of_strategies_are_read_as_in_a_sweep():
    lists = ("--strategy", "last,blocks:1..2", "--strategy", "mobiletl:1,norm=full")
    rows = json.loads(run("compare", "mcunet_5fps", *lists, "--format", "json").stdout)
    swept = costmodel.sweep("mcunet_5fps", ["last,blocks:1..2", "mobiletl:1,norm=full"])
    assert [row["strategy"] for row in rows] == swept["strategy"].tolist()
    assert [row["strategy"] for row in rows] == ["last", "blocks:1", "blocks:2", "mobiletl:1,norm=full"]
    assert [row["memory_bytes"]["peak"] for row in rows] == swept["peak_bytes"].tolist()


def test_validate_takes_lists_too():
    result = run("validate", "mcunet_5fps", "--strategy", "last,bias", "--batch", "1..2", "--resolution", "32,33",
                 "--format", "json", "--dtype", "fp32")  # fmt: skip
    cases = [(row["strategy"], row["batch"], row["resolution"]) for row in json.loads(result.stdout)]
    assert result.exit_code == 0
    assert cases == [(s, b, r) for s in ("last", "bias") for b in (1, 2) for r in (32, 33)]


@pytest.mark.parametrize("command", ["report", "fit"])
def test_where_one_strategy_is_meant_a_list_is_refused(command):
    budget = ("--budget", "1GB")
    for several in ("full,bias", "blocks:1..2"):
        result = run(command, "mcunet_5fps", "--strategy", several, *budget)
        assert result.exit_code == 2 and "one here, and several in `costmodel compare` and" in result.stderr
    assert run(command, "mcunet_5fps", "--strategy", "mobiletl:1,norm=full", *budget).exit_code == 0


@pytest.mark.parametrize("alias, name", [("fp32", "float32"), ("half", "float16"), ("bf16", "bfloat16")])
def test_data_types_have_their_usual_names(alias, name):
    short = json.loads(run("report", "mcunet_5fps", "--dtype", alias, "--format", "json").stdout)
    assert short == json.loads(run("report", "mcunet_5fps", "--dtype", name, "--format", "json").stdout)
    assert short["target"]["dtype"] == name
    assert re.search(rf"{name} \([^)]*{alias}", re.sub(r"\s+", " ", run("report", "--help").stdout))
    assert costmodel.sweep("mcunet_5fps", dtype=[alias, name, "float32"]).columns.get("dtype", [name])[0] == name


@pytest.mark.parametrize("what", ["networks", "strategies", "conventions", "optimizers", "targets"])
def test_list(what):
    assert len(json.loads(run("list", what, "--format", "json").stdout)) >= (3 if what == "targets" else 4)


def test_the_listed_blocks_are_the_names_of_plans(tmp_path):
    rows = json.loads(run("list", "blocks", "mobilenet_v2", "--format", "json").stdout)
    network = costmodel.load("mobilenet_v2")
    assert [row["part"] for row in rows if row["is_block"]] == [*network.graph.blocks]
    assert sum(row["layers"] for row in rows) == len(network.graph.nodes)
    assert sum(row["parameters"] for row in rows) == costmodel.estimate(network).parameters
    estimated = {block["name"]: block["output_shape"] for block in costmodel.estimate(network).blocks}
    assert all(row["output_shape"] == estimated[row["part"]] for row in rows)
    assert [row["part"] for row in rows if not row["choices"]] == ["classifier"]  # it always trains
    path = tmp_path / "mine.yaml"
    assert all("full" in row["choices"].split(", ") for row in rows if row["choices"])
    chosen = {row["part"]: "full" for row in rows if row["choices"]}
    path.write_text(json.dumps({"network": "mobilenet_v2", "choices": chosen}))
    assert costmodel.estimate(network, str(path)).trainable_parameters == costmodel.estimate(network).parameters


@pytest.mark.parametrize("arguments", [("blocks",), ("targets", "mobilenet_v2")])
def test_only_blocks_are_those_of_a_network(arguments):
    result = run("list", *arguments)
    assert result.exit_code == 2 and "`list blocks` takes a NETWORK, and no other list does" in result.stderr


def test_targets_say_what_they_are_here():
    rows = {row["target"]: row for row in json.loads(run("list", "targets", "--format", "json").stdout)}
    assert rows["cpu"]["here"] == str(costmodel.estimate("mcunet_5fps").request.target)
    assert "channels_last" in rows["cuda"]["options"]


def test_validate_holds_here():
    result = run(
        "validate", "mcunet_5fps", "--strategy", "bias", "--resolution", 33, "--convention", "lean", "--format", "json"
    )
    (row,) = json.loads(result.stdout)
    assert result.exit_code == 0 and row["holds"]
    assert row["saved_bytes"]["predicted"] == row["saved_bytes"]["measured"]


def test_validate_takes_what_a_traced_network_depends_on():
    result = run(
        "validate",
        "timm:mobilenetv3_small_050",
        "--strategy",
        "blocks:1",
        "--resolution",
        33,
        "--classes",
        7,
        "--blocks-are",
        "blocks.?",
        "--allow-unknown",
        "--summary",
        "--format",
        "csv",
    )
    (row,) = csv.DictReader(io.StringIO(result.stdout))
    assert result.exit_code == 0 and row["cases"] == "1" and row["verdict"] == "holds"
    result = run("validate", "timm:mobilenetv3_small_050", "--strategy", "full", "--blocks-are", "Nothing")
    assert result.exit_code == 2 and "no module is called 'Nothing'" in result.stderr


BAD = [
    (("rport",), "unknown command 'rport'; did you mean 'report'?"),
    (("report", "mobilnet_v2"), "unknown network 'mobilnet_v2'; did you mean 'mobilenet_v2'?"),
    (("report", "no/such.yaml"), "cannot read 'no/such.yaml': No such file"),
    (("report", "mobilenet_v2", "--strategy", "blocks:18"), "'18' blocks; allowed: from 1 to 17"),
    (("report", "mobilenet_v2", "--batch", "0"), "batch is 0; allowed: an integer from 1"),
    (("report", "mobilenet_v2", "--batch", "x"), "'x'"),
    (("report", "mobilenet_v2", "--classes", "0"), "classes is 0; allowed: an integer >= 1"),
    (("report", "mobilenet_v2", "--width", "0"), "width is 0.0; allowed: a number > 0"),
    (("report", "mobilenet_v2", "--target", "gpu"), "unknown device 'gpu'; did you mean 'cpu'?"),
    (("report", "mobilenet_v2", "--target", "cpu,threads=0"), "found 'threads=0'; allowed: threads=1 to threads=1024"),
    (("report", "mobilenet_v2", "--optimizer", "lion"), "unknown optimizer 'lion'"),
    (
        ("report", "mobilenet_v2", "--optimizer", "rmsprop,fused"),
        "optimizer 'rmsprop,fused' has 'fused' behind its name; allowed: foreach",
    ),
    (("report", "mobilenet_v2", "--optimizer", "adam,sgd"), "has 'sgd' behind its name; allowed: foreach or fused"),
    (("sweep", "mobilenet_v2", "--optimizer", "adam,foreach,fused"), "has 'foreach,fused' behind its name"),
    (("report", "mobilenet_v2", "--dtype", "int8"), "unknown dtype 'int8'"),
    (
        ("report", "mobilenet_v2", "--budget", "64 parsecs"),
        "budget is '64 parsecs'; allowed: bytes, or a number and one",
    ),
    (("report", "mobilenet_v2", "--figure", "step.gif"), "found the type '.gif'; allowed: .png, .svg, .pdf"),
    (("report", "mobilenet_v2", "--figure", "no/such/step.png"), "cannot be written: No such file or directory"),
    (("report", "mobilenet_v2", "--format", "xml"), "'xml'"),
    (("report", "mobilenet_v2", "--strategy", "full,prefix_slices=2"), "leaves no frozen prefix"),
    (("fit", "mobilenet_v2", "--budget", "1GB", "--max", "depth"), "unknown axis 'depth'"),
    (("fit", "mobilenet_v2"), "--budget SIZE"),
    (("fit", "mobilenet_v2", "--budget", "1GB", "--convention", "ideal"), "it has no peak to hold against a budget"),
    (("report", "mobilenet_v2", "--budget", "1GB", "--convention", "ideal"), "it has no peak"),
    (("pareto", "mobilenet_v2", "--figure", "/"), "found the type ''; allowed: .png, .svg, .pdf"),
    (("sweep", "mobilenet_v2", "-o", "n" * 300 + ".csv"), "cannot be written: "),
    (("plan", "mobilenet_v2", "--budget", "1GB", "-o", "n" * 300 + ".yaml"), "cannot be written: "),
    (("compare", "mobilenet_v2", "--budget", "1GB", "--convention", "ideal"), "it has no peak"),
    (("pareto", "mobilenet_v2", "--figure", "no/such/x.png"), "cannot be written: No such file or directory"),
    (("validate", "mobilenet_v2", "--target", "cuda"), "target 'cuda'"),
    (("validate", "mobilenet_v2", "--convention", "nope"), "unknown convention 'nope'"),
    (("list", "people"), "'people'"),
]


@pytest.mark.parametrize(
    "arguments, message", BAD, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_a_bad_request_is_one_message_and_exit_code_2(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if arguments[-1] == "cuda" and __import__("torch").cuda.is_available():
        pytest.skip("there is a GPU here")
    result = run(*arguments)
    assert result.exit_code == 2 and result.stdout == ""
    assert message in result.stderr and "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []  # no half-written file is left


def test_every_command_has_help():
    for name in COMMANDS:
        result = run(name, "--help")
        assert result.exit_code == 0 and result.stdout.startswith("Usage: main ")
