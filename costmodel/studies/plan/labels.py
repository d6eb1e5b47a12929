"""Labels of the search: what choices for the upper units cost, in columns, and which choices they were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...strategies import FROZEN
from ..frontier import undominated

NOT_NEEDED = np.iinfo(np.int64).min // 4  # bytes, where no forward pass is of that kind


class Labels(NamedTuple):
    """Labels, each a row: the choices for all units above some place. Less is better in every column but `value`.

    need: shape (labels, depths). need[:, k] is the least budget, not counting what the units below save, for the
    forward passes above during which k call frames hold a value from below. gradients, resident: bytes of parameters'
    gradients, and of what stays from step to step. first: bytes of the lowest trained parameter, the next to be updated
    after those of the units below. update: bytes of the highest level within the update. flops: of a step. value: of
    the choices. choice: number of the latest one in the History.
    """

    need: np.ndarray
    gradients: np.ndarray
    resident: np.ndarray
    first: np.ndarray
    update: np.ndarray
    flops: np.ndarray
    value: np.ndarray
    choice: np.ndarray

    @classmethod
    def start(cls, depths: int, resident: int) -> Labels:
        """The one label of no choice at all."""
        zero = np.zeros(1, dtype=np.int64)
        need = np.full((1, depths), NOT_NEEDED)
        return cls(need, zero, np.array([resident]), zero, zero, zero, np.zeros(1), np.array([-1]))

    @classmethod
    def joined(cls, some: Sequence[Labels]) -> Labels:
        """The labels of several lists in one."""
        return cls(*map(np.concatenate, zip(*some)))

    def at(self, places: Any) -> Labels:
        """Some of the labels."""
        return Labels(*(column[places] for column in self))

    def best(self, counts_flops: bool) -> np.ndarray:
        """Places of the labels that no other one dominates."""
        _, rank = np.unique(-self.value, return_inverse=True)
        columns = [rank.reshape(-1), *self.need.T, self.gradients, self.resident, self.first, self.update]
        return undominated(np.stack([*columns, *([self.flops] if counts_flops else [])], axis=1))


class History:
    """All choices of a search: each for one unit, and which choice for the units above it goes on from."""

    def __init__(self) -> None:
        self.codes: list[str] = []  # of each step: one code that many labels were given
        self.earlier: list[np.ndarray] = []  # of each step, for each of those labels the choice before; -1: none
        self.count = 0

    def add(self, code: str, earlier: np.ndarray) -> np.ndarray:
        """Give labels one more choice; returns the numbers of the new choices."""
        self.codes.append(code)
        self.earlier.append(earlier)
        self.count += len(earlier)
        return np.arange(self.count - len(earlier), self.count)

    def code(self, choice: int, frozen: int) -> str:
        """The letters that led to a choice, after those of the frozen units below it."""
        offsets = np.cumsum([0, *map(len, self.earlier)])
        letters = FROZEN.letter * frozen
        while choice >= 0:
            step = int(np.searchsorted(offsets, choice, side="right")) - 1
            letters += self.codes[step]
            choice = int(self.earlier[step][choice - offsets[step]])
        return letters
