"""What is found out of this machine for a target that leaves it out."""

import pytest

from costmodel.errors import CostmodelError
from costmodel.targets.cpu import here_threads


def test_more_threads_than_a_target_takes_are_refused(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1024")
    assert here_threads() == 1024
    monkeypatch.setenv("OMP_NUM_THREADS", "1025")
    with pytest.raises(CostmodelError, match="OMP_NUM_THREADS is 1025; allowed: 1 to 1024"):
        here_threads()
