"""Published numbers: how close the papers' own conventions come to them, and exact values with their arithmetic."""

import json
from pathlib import Path

import pytest
from commandline import CliRunner

import costmodel
from costmodel import estimate, load
from costmodel.cli import main
from costmodel.errors import CostmodelError
from costmodel.files.document import parse
from costmodel.studies.papers import claims, claims_of, compute

TINYTL = "proxyless_mobile_tinytl"


@pytest.mark.parametrize("claim", claims(), ids=lambda c: f"{c.paper}, {c.table}, {c.claim}".replace(" ", "_"))
def test_every_claim_holds(claim):
    result = compute(claim)
    assert result.holds
    assert (result.computed is None) == bool(claim.pending)


@pytest.mark.parametrize(
    "strategy, expected",
    [  # by the authors' profiler, github.com/mit-han-lab/tinyml, run on their network
        ("full", 390_843_488),
        ("norm+last", 192_421_400),
        ("last", 30_828_688),
        ("bias", 31_694_432),
        ("tinytl-l", 37_080_752),
        ("tinytl-lb", 37_126_448),
    ],
)
def test_tinytl_to_the_byte(strategy, expected):
    assert estimate(TINYTL, strategy, convention="tinytl").memory_bytes["peak"] == expected


def test_tinytls_last_by_hand():
    """Nothing is saved before the classifier, so that the peak is the highest temporary.

    The 1x1 expansion of block 1 reads 16 maps of 112x112 and makes 48: 64 * 112 * 112 * 4 bytes. Parameters: the
    classifier's 1281 * 102 of 32 bits, all others of 8.
    """
    found = estimate(TINYTL, "last", convention="tinytl")
    classifier = 1281 * 102
    parameters = 4 * classifier + found.parameters - classifier
    assert found.memory_bytes["parameters"] == parameters
    assert found.memory_bytes["peak"] == parameters + 8 * 64 * 112 * 112 * 4


def test_tinytl_without_branches():
    """On batch norms and without branches, as FT-Full would be: 24 MB less."""
    found = estimate(load("proxyless_mobile", classes=102), "full", convention="tinytl")
    assert found.memory_bytes["peak"] == 366_973_048


def saved(network, strategy, block, **request):
    found = estimate(network, strategy, convention="mobiletl", **request)
    return next(row["saved"] for row in found.blocks if row["name"] == block)


def test_one_v2_block_by_hand():
    small, wide = 8 * 96 * 49 * 4, 8 * 576 * 49 * 4  # batch 8 on 7x7, float32
    request = {"network": "mobilenet_v2", "block": "features.12", "resolution": 112}
    # Inputs of three convolutions and three norms, two ReLU6 of 2 bits; then without the first two norms, of 1 bit.
    assert saved(strategy="blocks:6", **request) == 2 * small + 4 * wide + 2 * (wide // 16) == 4_026_624
    assert saved(strategy="mobiletl:6", **request) == 2 * small + 2 * wide + 2 * (wide // 32) == 2_163_840


def test_one_v3_block_by_hand():
    small, wide = 8 * 96 * 49 * 4, 8 * 576 * 49 * 4
    # Squeeze-and-excite: the inputs of its convolutions (576, 144) and hard sigmoid (576), a bit of its ReLU (144),
    # and the map that it scales.
    inner = 8 * (576 + 144 + 576) * 4 + 8 * 144 // 8
    request = {"network": "mobilenet_v3_small", "block": "features.11"}
    assert saved(strategy="blocks:1", **request) == 2 * small + 7 * wide + inner == 6_664_848
    assert saved(strategy="mobiletl:1", **request) == 2 * small + 3 * wide + 2 * (wide // 32) + inner == 3_108_624


def test_mobiletl_stored_activations_and_flops():
    network = load("mobilenet_v3_small", classes=10)
    found = {s: estimate(network, s, convention="mobiletl") for s in ("blocks:3", "blocks:5", "full")}
    assert [round(e.saved_bytes / 1e6, 2) for e in found.values()] == [23.07, 35.83, 129.72]
    work = {s: sum(e.flops[k] for k in ("total", "elementwise_forward", "elementwise_backward"))
            for s, e in found.items()}  # fmt: skip
    assert round(100 * (1 - work["blocks:5"] / work["full"]), 1) == 36.0


def test_a_papers_convention_counts_layer_by_layer():
    found = estimate("mobilenet_v2", "full", 2, 64, convention="tinytl")
    assert sum(row.saved_bytes for row in found.rows) == found.saved_bytes
    assert found.memory is None and found.memory_bytes["step_peak"] is None
    assert sum(block["saved"] for block in found.blocks) == found.saved_bytes


@pytest.mark.parametrize("convention", ["tinytl", "mobiletl"])
@pytest.mark.parametrize("network", ["mobilenet_v3_small", "mobilenet_v4_conv_small", TINYTL])
@pytest.mark.parametrize("strategy", ["full", "bias", "mobiletl:3", "tinytl-l", "tinytl-lb", "inference"])
def test_every_strategy_under_a_papers_convention(network, strategy, convention):
    memory = estimate(network, strategy, 2, 96, convention).memory_bytes
    assert memory["peak"] > memory["parameters"]
    assert memory["saved"] > 0 or strategy == "inference"


# -- the command ---------------------------------------------------------------------------------------------------


def run(*arguments):
    return CliRunner().invoke(main, ["validate", "--papers", *arguments])


def test_the_command_prints_published_computed_and_difference():
    result = run(TINYTL)
    assert result.exit_code == 0
    line = next(line for line in result.stdout.splitlines() if "Norm+Last" in line)
    assert line.split()[-6:] == ["192.00", "192.42", "MB", "+0.42", "0.50", "holds"]
    assert "tolerance: published as whole MB" in result.stdout


def test_the_commands_json_is_one_document():
    rows = json.loads(run("--format", "json").stdout)
    by_claim = {(row["paper"], row["table"], row["claim"]): row for row in rows}
    full = by_claim["TinyTL", "training memory of ProxylessNAS-Mobile on Flowers", "Full"]
    assert (full["computed"], full["published"], full["holds"]) == (390_843_488, 391, True)
    filtered = by_claim["gradient filter", "memory, mobilenet_v2", "last 2, filtered"]
    assert (filtered["computed"], filtered["published"], filtered["unit"]) == (81_920, 80.0, "KiB")


@pytest.mark.parametrize("form", ["csv", "markdown"])
def test_other_formats(form):
    result = run("--format", form)
    assert result.exit_code == 0 and "TinyTL-L+B" in result.stdout


def test_an_unknown_network_is_refused():
    result = run("resnet")
    assert result.exit_code == 2
    assert "unknown network with published numbers 'resnet'" in result.stderr


def test_the_command_exits_with_1_outside_the_tolerance(monkeypatch):
    import costmodel.studies.papers as papers

    wrong = claims()[-1]._replace(published=1.0)
    monkeypatch.setattr(papers, "claims", lambda: (wrong,))
    result = run()
    assert result.exit_code == 1 and "wrong" in result.stdout


# -- the files -----------------------------------------------------------------------------------------------------

ROW = (
    "network: mobilenet_v2\n    classes: 10\n    resolution: 64\n    batch: 2\n    convention: tinytl\n"
    "    quantity: peak\n    unit: MB\n    tolerance: 1\n    because: rounding\n    claims:\n"
)


def document(row, table="t", more=""):
    text = f"paper: P\ntitle: T\nsource: S\ntables:\n  - table: {table}\n    {ROW}      - {{{row}}}\n{more}"
    return claims_of(parse(text, "p.yaml"))


def test_a_claim_takes_from_its_table_and_may_say_otherwise():
    (claim,) = document("claim: c, strategy: full, published: 2, batch: 4, tolerance: 5 %")
    assert (claim.paper, claim.table, claim.batch, claim.resolution, claim.tolerance) == ("P", "t", 4, 64, 0.1)


@pytest.mark.parametrize(
    "row, message",
    [
        ("claim: c, strategy: full", "'published' is missing"),
        ("claim: c, published: 2", "'strategy' is missing"),
        ("claim: c, strategy: full, published: 2, unit: GB", "unknown unit 'GB'"),
        ("claim: c, strategy: full, published: 2, quantity: speed", "unknown quantity 'speed'"),
        ("claim: c, strategy: full, published: 2, tolerance: some", "a share as in 2 %"),
        ("claim: c, strategy: full, published: 2, against: bias", "'against' belongs to the units % and x"),
        ("claim: c, strategy: full, published: 2, block: b", "a block has the quantity 'saved' alone"),
        ("claim: c, strategy: full, published: 2, colour: red", "unknown key 'colour'"),
    ],
)
def test_bad_claims_say_their_place(row, message):
    with pytest.raises(CostmodelError, match=message) as error:
        document(row)
    assert "p.yaml, line 16" in str(error.value)


def test_an_unknown_block_is_refused():
    (claim,) = document("claim: c, strategy: full, published: 2, quantity: saved, block: nowhere")
    with pytest.raises(CostmodelError, match="unknown block 'nowhere'"):
        compute(claim)


def test_the_page_on_conventions_prints_its_own_tables(capsys):
    page = (Path(costmodel.__file__).parent / "conventions" / "README.md").read_text()
    exec(page.split("```python\n")[1].split("```")[0], {})
    for table in capsys.readouterr().out.strip().split("\n\n"):
        assert table in page


@pytest.mark.parametrize("option", [("--figure", "step.png"), ("--format", "trace")])
def test_there_is_no_timeline_to_draw(option):
    result = CliRunner().invoke(main, ["report", "mobilenet_v2", "--convention", "tinytl", *option])
    assert result.exit_code == 2
    assert "convention 'tinytl' has no timeline of a step; allowed: torch, lean" in result.stderr
