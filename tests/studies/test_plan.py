"""Plans: the best choice for each part under a budget equals brute force, and a real run confirms it."""

import json
import random
from itertools import product

import pytest
import torch
from commandline import CliRunner
from real import seldom
from tiny import tiny_network
from torch import nn

import costmodel
from costmodel.cli import main
from costmodel.errors import CostmodelError
from costmodel.pytorch.validate import validate
from costmodel.strategies import CHOICES, parts
from costmodel.studies.plan.nothing_fits import NothingFits
from costmodel.studies.plan.plan import plan

ROWS = [
    "- {out: 8, repeat: 1, stride: 1, expand: 1, kernel: 3}",
    "- {out: 16, repeat: 2, stride: 2, expand: 3, kernel: 5, squeeze_excite: true}",
]
CONV = "- {kind: conv, out: 16, repeat: 1, stride: 2, kernel: 3}"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("specs")

    def load(rows, activation="relu6"):
        return tiny_network(folder, rows, activation)

    return load


def everything(network, checkpoint, convention="torch", forms=(), **request):
    """(value, FLOPs, peak) of every choice of parts, by code. Stock modules make nothing again."""
    lean = convention == "lean"
    left_out = {c for c, used in (("x", lean and checkpoint), ("k", lean)) if not used}
    choices = [
        [c for c in part.choices(forms) if (checkpoint or c.islower()) and c.lower() not in left_out]
        for part in parts(network.graph)
    ]
    found = {}
    for code in map("".join, product(*choices)):
        try:
            estimate = costmodel.estimate(network, f"plan:{code}", 4, convention=convention, **request)
        except CostmodelError as error:
            assert "no block has a backward pass" in str(error)  # an F below everything that trains equals f
            continue
        found[code] = (estimate.trainable_parameters, estimate.flops["total"], estimate.peak_bytes)
    return found


def named(network, **request):
    """(value, FLOPs, peak) of the strategies that no choice of parts equals."""
    estimates = []
    for name in ("norm+last", "tinytl-l", "tinytl-lb", "repnet", "da3"):
        try:
            estimates.append(costmodel.estimate(network, name, 4, **request))
        except CostmodelError as error:
            assert name == "repnet" and "changes the number of channels" in str(error)
    return [(e.trainable_parameters, e.flops["total"], e.peak_bytes) for e in estimates]


BRUTE = [
    (ROWS, "relu6", False, "sgd"), (ROWS, "hardswish", False, "adam"), (ROWS[1:], "relu", True, "sgd"),
    ([CONV, ROWS[0]], "relu6", True, "momentum"), ([*ROWS[:1], CONV, CONV], "relu", False, "sgd"),
    ([CONV, ROWS[0]], "relu", True, "adagrad,foreach"), (ROWS[1:], "relu6", False, "rmsprop"),
    (ROWS, "relu", False, "radam"), (ROWS, "relu6", False, "adam,foreach"), (ROWS, "relu", True, "adam,in_place"),
]  # fmt: skip
SELDOM = [(*case, convention, 9) for case in BRUTE for convention in ("torch", "lean")]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("rows, activation, checkpoint, optimizer, convention, budgets", [
    (*BRUTE[3], "torch", 3), (*BRUTE[4], "lean", 3), *seldom(*SELDOM),
])  # fmt: skip
def test_a_plan_equals_brute_force(tiny, rows, activation, checkpoint, optimizer, convention, budgets):
    network = tiny(rows, activation)
    costs = everything(network, checkpoint, convention=convention, optimizer=optimizer)
    peaks = sorted({peak for _, _, peak in costs.values()})
    assert len(peaks) > 50
    others = named(network, convention=convention, optimizer=optimizer)
    asked = dict(batch=4, convention=convention, optimizer=optimizer, checkpoint=checkpoint)
    before = 0
    for budget in [peaks[0], *peaks[1 :: len(peaks) // budgets], peaks[-1]]:
        fitting = [(value, -flops) for value, flops, peak in [*costs.values(), *others] if peak <= budget]
        best = plan(network, budget, **asked)
        assert (best.value, -best.estimate.flops["total"]) == max(fitting)
        assert best.estimate.peak_bytes <= budget
        assert best.value >= before  # a larger budget never gives a worse plan
        before = best.value
    least = min(peaks[0], *(peak for *_, peak in others))
    with pytest.raises(CostmodelError, match=rf"the least, .* takes .* \({least} bytes"):
        plan(network, least - 1, **asked)


@pytest.mark.parametrize("rows, forms, checkpoint, optimizer", [
    (ROWS[:1], ("quantised",), True, "adam,in_place"), *seldom(
        (ROWS[:1], ("quantised", "backrazor", "gradfilter"), True, "sgd"), (ROWS, ("quantised",), False, "adam"),
        (ROWS, ("gradfilter",), False, "sgd"), (ROWS, ("backrazor",), False, "momentum"),
    ),
])  # fmt: skip
def test_forms_are_choices_where_they_are_asked_for(tiny, rows, forms, checkpoint, optimizer):
    network = tiny(rows, "hardswish")
    asked = dict(convention="lean", optimizer=optimizer)
    costs = everything(network, checkpoint, forms=forms, **asked)
    assert {letter for code in costs for letter in code.lower()} & {*"qpg"} == {
        choice.letter for choice in CHOICES.values() if choice.form in forms
    }
    peaks = sorted({peak for _, _, peak in costs.values()})
    found = set()
    for budget in peaks[:: max(1, len(peaks) // 12)]:
        best = plan(network, budget, batch=4, checkpoint=checkpoint, forms=forms, **asked)
        most = max((value, -flops) for value, flops, peak in costs.values() if peak <= budget)
        assert (best.value, -best.estimate.flops["total"]) >= most  # a named strategy may be better
        assert best.estimate.peak_bytes <= budget
        if str(best.strategy).startswith("plan:"):
            assert (best.value, -best.estimate.flops["total"]) == most
            found |= {*str(best.strategy)[5:].lower()}
    assert found & {*"qpg"}


def test_forms_of_plans_that_there_are_not():
    with pytest.raises(CostmodelError, match="convention 'torch' has no forms .quantised.; allowed: lean"):
        plan("mobilenet_v2", "1GB", forms=["quantised"])
    with pytest.raises(CostmodelError, match="has no blocks that could be in a form; allowed: name them"):
        module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(16, 3))
        plan(module, "1GB", convention="lean", forms=["quantised"], resolution=4)
    with pytest.raises(CostmodelError, match="unknown form of a plan 'quantized'; did you mean 'quantised'"):
        plan("mobilenet_v2", "1GB", convention="lean", forms=["quantized"])


@pytest.mark.parametrize("rows, budgets", [([*ROWS[:1], CONV], 2), *seldom(([*ROWS[:1], CONV, CONV], 2), (ROWS, 5))])
def test_other_objectives_and_limits_equal_brute_force(tiny, rows, budgets):
    network = tiny(rows)
    costs = everything(network, False, convention="lean")
    names = [part.name for part in parts(network.graph)]
    blocks = network.graph.blocks
    words = {"f": "frozen", "b": "bias", "m": "mobiletl", "t": "full", "k": "full"}
    values = {b: {"bias": 1.5 - i, "mobiletl": 2.25 * i, "full": 3.0 + i % 2} for i, b in enumerate(blocks)}

    def worth(code):
        return sum(values[n][words[c]] for n, c in zip(names, code) if n in blocks and c != "f")

    def trained(code):
        return sum(c != "f" for n, c in zip(names, code) if n in blocks)

    others = named(network, convention="lean")
    peaks = sorted({peak for _, _, peak in costs.values()})
    for budget in peaks[:: len(peaks) // budgets]:
        fitting = {code: cost for code, cost in costs.items() if cost[2] <= budget}
        asked = dict(batch=4, convention="lean", checkpoint=False)
        best = plan(network, budget, values, **asked)
        assert best.value == pytest.approx(max(map(worth, fitting)), abs=1e-9)
        best = plan(network, budget, "blocks", **asked)
        most = max(map(trained, fitting))
        assert (best.value, best.estimate.flops["total"]) == (
            most,
            min(c[1] for k, c in fitting.items() if trained(k) == most),
        )
        flops = sorted({cost[1] for cost in fitting.values()})
        limit = flops[len(flops) // 2]
        best = plan(network, budget, max_flops=limit, **asked)
        assert best.value == max(
            v for v, work, peak in [*fitting.values(), *others] if work <= limit and peak <= budget
        )
        best = plan(network, budget, contiguous=True, **asked)
        whole = [cost[0] for code, cost in fitting.items() if "f" not in code.lstrip("f")]
        assert best.value == max(whole)


CONVENTIONS = ("torch", "lean")
ASSIGNED = [("mobilenet_v2", 96), ("mobilenet_v4_conv_small", 97), ("mobilenet_v3_small", 65)]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name, resolution, convention, draws", [
    ("mobilenet_v2", 96, "lean", 1), ("mobilenet_v3_small", 65, "torch", 1),
    *seldom(*((*case, convention, 3) for case in ASSIGNED for convention in CONVENTIONS)),
])  # fmt: skip
def test_no_other_assignment_is_better(name, resolution, convention, draws):
    """No random choice of parts is worth more than the plan for that choice's own peak."""
    network = costmodel.load(name)
    draw = random.Random(f"{name} {convention}")
    for _ in range(draws):
        code = "".join(draw.choice(part.choices()) for part in parts(network.graph))
        other = costmodel.estimate(network, f"plan:{code}", 2, resolution, convention)
        best = plan(network, other.peak_bytes, batch=2, resolution=resolution, convention=convention)
        assert best.value >= other.trainable_parameters
        assert best.estimate.peak_bytes <= other.peak_bytes


@pytest.mark.parametrize("name, convention", [
    ("timm:resnet18", "torch"),
    *seldom(("timm:convnext_atto", "torch"), ("timm:convnext_atto", "lean"), ("timm:resnet18", "lean")),
])  # fmt: skip
def test_parts_of_traced_networks_add_up(name, convention):
    """ConvNeXt mixes memory formats. (A plan that does not add up to the whole's exact estimate is an error.)"""
    network = costmodel.load(name)
    least, most = (costmodel.estimate(network, s, 2, 65, convention).peak_bytes for s in ("last", "full"))
    for budget in (least, (2 * least + most) // 3, most):
        best = plan(network, budget, batch=2, resolution=65, convention=convention)
        assert best.is_proven and best.estimate.peak_bytes <= budget
    assert best.value >= costmodel.estimate(network, "full").trainable_parameters


NAMED = ("full", "norm+last", "bias", "last", "blocks:2", "blocks:9", "mobiletl:4", "mobiletl:14", "tinytl-l",
         "tinytl-lb")  # fmt: skip


@pytest.mark.one_in(2)
@pytest.mark.parametrize("strategy, convention", [
    ("norm+last", "torch"), ("tinytl-lb", "lean"), *seldom(*product(NAMED, CONVENTIONS)),
])  # fmt: skip
def test_never_worse_than_a_named_strategy(strategy, convention):
    estimate = costmodel.estimate("mcunet_5fps", strategy, 4, convention=convention)
    best = plan("mcunet_5fps", estimate.peak_bytes, batch=4, convention=convention)
    assert best.value >= estimate.trainable_parameters


@pytest.mark.parametrize("name, convention, budget", [
    ("mobilenet_v3_small", "lean", 18_000_000),
    *seldom(("mcunet_5fps", "torch", 12_000_000), ("mobilenet_v2", "torch", 24_000_000)),
])  # fmt: skip
def test_a_real_run_confirms_the_plan(name, convention, budget, tmp_path):
    network = costmodel.load(name)
    best = plan(network, budget, batch=2, resolution=97, convention=convention)
    path = str(tmp_path / "plan.yaml")
    best.save(path)
    for check in validate(network, path, 2, 97, convention, target="cpu"):
        assert check.error == 0, check
    assert costmodel.estimate(network, path, 2, 97, convention).peak_bytes == best.estimate.peak_bytes <= budget


def test_micro_batches_reach_an_effective_batch(tiny):
    network = tiny(ROWS)
    whole = costmodel.estimate(network, "full", 24).peak_bytes
    assert plan(network, whole, effective_batch=24, checkpoint=False).micro_batches == 1
    best = plan(network, whole - 1, effective_batch=24, checkpoint=False)
    sizes = {n: plan(network, whole - 1, batch=n, checkpoint=False).value for n in (24,)}
    everywhere = costmodel.estimate(network, "full", 12, accumulate=2)
    assert everywhere.peak_bytes < whole  # so half of the images are enough to train all
    assert (best.estimate.batch, best.micro_batches) == (12, 2)
    assert best.value == everywhere.trainable_parameters > sizes[24]
    assert best.estimate.request.accumulate == 2


def run(*arguments):
    result = CliRunner().invoke(main, ["plan", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_the_command(tmp_path):
    path = tmp_path / "plan.yaml"
    result = run("mcunet_5fps", "--budget", "40MB", "--convention", "lean", "-o", str(path), "--format", "json")
    document = json.loads(result.stdout)
    assert result.exit_code == 0 and document["estimate"]["memory_bytes"]["peak"] <= 40_000_000
    assert f"plan:{document['strategy'][5:]}" == document["strategy"]
    again = CliRunner().invoke(
        main, ["report", "mcunet_5fps", "--strategy", str(path), "--convention", "lean", "--format", "json"]
    )
    report = json.loads(again.stdout)
    assert report["memory_bytes"] == document["estimate"]["memory_bytes"] and report["strategy"] == str(path)
    result = run("mcunet_5fps", "--budget", "40MB", "-o", str(path))
    assert result.exit_code == 2 and "exists; allowed: another name, or --force" in result.stderr
    result = run("mcunet_5fps", "--budget", "40MB", "--convention", "lean", "-o", str(path), "--force")
    assert result.exit_code == 0 and "the most within 40.00 MB" in result.stdout


@pytest.mark.parametrize("more, message", [
    *seldom((["--budget", "1kB"], "no: no plan for mcunet_5fps fits into 1.00 kB")),
    (["--budget", "64MB", "--max-flops", "5"], "takes at most 5 FLOPs: with the classifier alone"),
])  # fmt: skip
def test_that_nothing_fits_is_an_answer(more, message, tmp_path):
    path = tmp_path / "plan.yaml"
    result = run("mcunet_5fps", *more, "-o", str(path))
    assert result.exit_code == 1 and message in result.stdout and result.stderr == "" and not path.exists()
    result = run("mcunet_5fps", *more, "--format", "json")
    document = json.loads(result.stdout)
    assert result.exit_code == 1 and document["fits"] is False and document["why"] in run("mcunet_5fps", *more).stdout
    with pytest.raises(NothingFits) as no:
        costmodel.plan("mcunet_5fps", 1000)
    assert no.value.budget_bytes == 1000 and not no.value.to_dict()["fits"]
    least = costmodel.estimate("mcunet_5fps", document["strategy"])
    assert document["estimate"] == json.loads(json.dumps(least.to_dict()))
    assert least.peak_bytes > document["budget_bytes"] or least.flops["total"] > 5


@pytest.mark.parametrize("arguments, message", [
    (["mcunet_5fps", "--budget", "0MB"], "budget"),
    (["mcunet_5fps", "--budget", "64MB", "--maximise", "accuracy"], "allowed: parameters, blocks, or a .csv file"),
    (["mcunet_5fps", "--budget", "64MB", "--maximise", "nowhere.csv"], "cannot read 'nowhere.csv'"),
    (["mcunet_5fps", "--budget", "64MB", "--convention", "ideal"],
     "'ideal' has no peaks of parts to plan with; allowed: torch, lean"),
    (["mcunet_5fps", "--budget", "64MB", "--batch", "0"], "batch is 0; allowed: an integer >= 1"),
    (["mcunet_5fps", "--budget", "64MB", "-o", "plan.txt"], "allowed: a name that ends in .yaml"),
])  # fmt: skip
def test_bad_requests(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2 and message in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize("text, message", [
    ("block,value\nnowhere,1\n", "unknown block 'nowhere'"),
    ("block,value\nblocks.0,1\n", "no value for the blocks"),
    ("block,value\n%s,1\n%s,2\n", "stands twice"),
    ("block,value\n%s,much\n", "the value is 'much'; allowed: a number"),
    ("block,gain\n%s,1\n", "has the columns block, gain; allowed: block, value, and choice"),
    ("block,choice,value\n%s,bias,1\n", "has values for bias; allowed: for bias, mobiletl, full"),
])  # fmt: skip
def test_bad_values(tiny, tmp_path, text, message):
    network = tiny([ROWS[0]])
    path = tmp_path / "values.csv"
    path.write_text(text.replace("%s", network.graph.blocks[0]))
    two = tiny(ROWS)
    if "no value" in message:
        path.write_text(f"block,value\n{two.graph.blocks[0]},1\n")
    with pytest.raises(CostmodelError, match=message):
        plan(two if "no value" in message else network, 10**8, str(path))


@pytest.mark.parametrize("change, message", [
    (("  stem: frozen\n", ""), "line 4, choices: nothing is chosen for stem; allowed: frozen, bias, mobiletl, full"),
    (("  stem: frozen\n", "  stem: [1]\n"), "choices.stem: unknown choice \\[1\\]"),
    (("  stem: frozen\n", "  stem: thawed\n"), "choices.stem: unknown choice 'thawed'"),
    (("  stem: frozen\n", "  stem: mobiletl\n"), "stem has 'm'; allowed: f, b, t"),
    (("  stem: frozen\n", "  stem: frozen\n  nowhere: full\n"), "unknown part of the network 'nowhere'"),
    (("checkpoint: []", "checkpoint: [stem]"), "unknown block 'stem'"),
    (("network: tiny", "netwrok: tiny"), "unknown key 'netwrok'"),
])  # fmt: skip
def test_bad_files(tiny, tmp_path, change, message):
    network = tiny(ROWS)
    path = tmp_path / "plan.yaml"
    plan(network, 10**9, batch=4, maximise="blocks", checkpoint=False).save(str(path))
    text = path.read_text()
    assert change[0] in text, text
    path.write_text(text.replace(*change))
    with pytest.raises(CostmodelError, match=message):
        costmodel.estimate(network, str(path))


def test_a_missing_file_is_said():
    with pytest.raises(CostmodelError, match="cannot read 'nowhere.yaml': No such file or directory"):
        costmodel.estimate("mcunet_5fps", "nowhere.yaml")


class Skips(nn.Module):
    """The head reads what the stem made, past two blocks."""

    def __init__(self, shared=False):
        super().__init__()
        self.stem, self.a = nn.Conv2d(3, 8, 3), nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8))
        self.b = self.a if shared else nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8))
        self.shared, self.classifier = shared, nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        y = self.b(self.a(x))
        return self.classifier((y if self.shared else x + y).mean((2, 3)))


def test_parts_that_touch_in_two_values_are_refused():
    network = costmodel.load(Skips(), blocks_are="[ab]")
    with pytest.raises(CostmodelError, match="add reads stem, which passes b.1 by; a plan wants parts in a chain"):
        plan(network, 10**8, resolution=32)


def test_parts_that_share_parameters_are_refused():
    class Twice(Skips):
        def forward(self, x):
            return self.classifier(self.b(self.a(self.stem(x))).mean((2, 3)))

    module = Twice()
    module.b[0].weight = module.a[0].weight
    module.b[0].bias = module.a[0].bias
    with pytest.raises(CostmodelError, match="a.0 is used in two parts of the network|shared|several modules"):
        plan(costmodel.load(module, blocks_are="[ab]"), 10**8, resolution=32)


def test_a_search_that_is_cut_short_says_so(monkeypatch):
    """If the search keeps only one label, nothing is proven; but the plan fits, and the least budget is still found."""
    monkeypatch.setattr("costmodel.studies.plan.search.WIDE_BEAM", 1)
    step = {"batch": 3, "resolution": 65, "optimizer": "adam"}  # a subset sum: very many are nearly as good
    last, full = (costmodel.estimate("mobilenet_v3_small", s, **step).peak_bytes for s in ("last", "full"))
    best = plan("mobilenet_v3_small", (3 * last + 2 * full) // 5, **step)
    assert not best.is_proven and best.estimate.peak_bytes <= best.budget_bytes
    with pytest.raises(CostmodelError, match="the least, plan:"):
        plan("mobilenet_v3_small", last // 2, **step)
