"""An installed wheel contains everything that the package needs: its specs are found without the checkout."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from real import NETWORKS

import costmodel
from costmodel.files.shipped import shipped_names

ROOT = Path(__file__).parent.parent
LOAD_ALL = """
import json, sys
import costmodel
from costmodel.files.shipped import shipped_names
names = shipped_names("networks")
print(json.dumps({
    "from": costmodel.__file__,
    "parameters": {name: costmodel.estimate(name).parameters for name in names},
}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The directory into which the wheel was installed."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"  # a copy, so that building leaves nothing in the checkout
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True)
    names = files.stdout.split("\0") if files.returncode == 0 else [str(p.relative_to(ROOT)) for p in ROOT.rglob("*")]
    for name in names:
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    offline = ["--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "wheel", *offline, "--wheel-dir", place, source], check=True)
    (wheel,) = place.glob("costmodel_training-*.whl")
    subprocess.run([*pip, "install", *offline, "--target", place / "site", wheel], check=True)
    return place / "site"


def run_installed(site, arguments, cwd):
    """The output of a fresh interpreter that finds the package in `site`, not in the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    run = subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_nothing_sends_people_to_the_package_of_that_name_on_the_public_index():
    told = [path for folder in ("costmodel", "docs", "notebooks", "specs") for path in (ROOT / folder).rglob("*.*")]
    told = [path for path in [*told, *ROOT.glob("*.md"), *ROOT.glob("*.yml")] if path.suffix != ".pyc"]
    wrong = re.compile(r"costmodel\[|(pip|pipx|uv|uvx)( [-\w]+)* ['\"]?costmodel\b(?![-./\w])")
    found = {path.name: wrong.search(path.read_text(encoding="utf-8")) for path in told if path.is_file()}
    assert len(found) > 150 and {name: hit[0] for name, hit in found.items() if hit} == {}
    for line in (
        "pip install costmodel",
        "pip install 'costmodel[torch]'",
        "uvx costmodel",
        "pipx run costmodel report",
    ):
        assert wrong.search(line)
    assert not wrong.search("pip install '.[torch]'") and not wrong.search("uvx --from . costmodel report")


def test_in_a_checkout_specs_are_found_whether_or_not_the_package_is_installed(tmp_path):
    for name in ("costmodel", "specs", "setup.cfg"):
        (tmp_path / name).symlink_to(ROOT / name)
    code = "import costmodel; print(costmodel.estimate('mcunet_5fps').parameters, costmodel.__file__)"
    path = [place for place in sys.path if place and Path(place) != ROOT]  # without what an editable install adds
    run = subprocess.run([sys.executable, "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True,
                         env={**os.environ, "PYTHONPATH": os.pathsep.join(path)})  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("636232 ") and str(tmp_path) in run.stdout


def test_every_shipped_network_is_found(installed, tmp_path):
    told = json.loads(run_installed(installed, ["-c", LOAD_ALL], tmp_path))
    assert Path(told["from"]).parent == installed / "costmodel"
    assert told["parameters"] == {name: costmodel.estimate(name).parameters for name in shipped_names("networks")}


def test_the_wheel_holds_every_source_and_spec(installed):
    for folder, where in (("costmodel", "costmodel"), ("specs", "costmodel/specs")):
        here = {p.relative_to(ROOT / folder).as_posix() for s in ("*.py", "*.yaml") for p in (ROOT / folder).rglob(s)}
        there = {p.relative_to(installed / where).as_posix() for p in (installed / where).rglob("*") if p.is_file()}
        assert here <= there
    assert (installed / "costmodel" / "py.typed").is_file()  # says that the package is typed


def test_the_specs_come_from_the_wheel(installed, tmp_path):
    code = "import costmodel.specs; print(costmodel.specs.__file__)"
    assert Path(run_installed(installed, ["-c", code], tmp_path).strip()).parent == installed / "costmodel" / "specs"


def test_the_command_line_runs_from_the_wheel(installed, tmp_path):
    code = "from costmodel.cli import main; main(['list', 'networks'])"
    listed = run_installed(installed, ["-c", code], tmp_path)
    assert all(name in listed for name in NETWORKS)
