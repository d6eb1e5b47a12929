"""Interrupted sweeps whose unfinished files were damaged since: the table is right, or nothing is written."""

import pytest
from fuzzing import chance_of, damaged, rounds

from costmodel.errors import CostmodelError
from costmodel.studies.grid.resumable import write
from costmodel.studies.grid.sweep import SweepPlan

EACH = 10
AXES = {"strategy": ["full", "last"], "resolution": [64, 96], "target": "none", "batch": "1..12"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A plan in chunks of eight cells, the bytes of its table, and what is there after two chunks."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("costmodel.studies.grid.sweep.CELLS", 8)
        patched.setattr("costmodel.studies.grid.sweep.ROWS", 2)
        plan, path = SweepPlan("mcunet_5fps", dict(AXES)), tmp_path_factory.mktemp("made") / "grid.csv"
        writing = write(plan, str(path))
        for _ in range(3):
            next(writing)
        writing.close()
        there = {one.name: one.read_bytes() for one in path.parent.iterdir()}
        list(write(plan, str(path)))
        yield plan, path.read_bytes(), there


@pytest.mark.one_in(2)
@pytest.mark.parametrize("number", rounds(2, 50))
def test_damaged_unfinished_files(number, made, tmp_path):
    plan, whole, there = made
    assert sorted(there) == ["grid.csv.unfinished", "grid.csv.unfinished.log"]
    for case in range(number * EACH, (number + 1) * EACH):
        chance, folder = chance_of("interrupted", case), tmp_path / str(case)
        folder.mkdir()
        for name, content in there.items():
            how = chance.randrange(4)
            if how:  # else it is lost
                (folder / name).write_bytes(content if how == 1 else damaged(chance, content))
        path = folder / "grid.csv"
        try:
            list(write(plan, str(path)))
        except CostmodelError as error:
            assert "allowed: " in str(error) and not path.exists(), case
            list(write(plan, str(path), force=True))
        assert path.read_bytes() == whole, case
        assert [one.name for one in folder.iterdir()] == ["grid.csv"], case
