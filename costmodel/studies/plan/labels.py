"""Labels of the search: the costs of choices for the upper units, in columns, and the history of these choices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...strategies import FROZEN
from ..frontier import undominated

NOT_NEEDED = np.iinfo(np.int64).min // 4  # a need, in bytes, for a kind of forward pass that does not occur


class Labels(NamedTuple):
    """Labels, one per row: a label is a choice for each unit above some unit. Less is better, except for `value`.

    need: bytes, shape (labels, depths). need[:, k] is the least budget, not counting what the units below save, for the
    forward passes above during which k call frames hold a value from below (need[:, 0] counts backward passes too).
    gradients: bytes of parameters' gradients. resident: bytes that stay from step to step. first: bytes of the lowest
    trained parameter so far, which is updated right after those of the units below; of all trained so far where they
    are updated together. update: bytes of the highest level within the update. work: as a part's (`PartCost`). value:
    of the choices. choice: number of the latest choice in the History.
    """

    need: np.ndarray
    gradients: np.ndarray
    resident: np.ndarray
    first: np.ndarray
    update: np.ndarray
    work: np.ndarray
    value: np.ndarray
    choice: np.ndarray

    @classmethod
    def start(cls, depths: int, resident: int) -> Labels:
        """The single label before any choice. resident: bytes that stay from step to step."""
        zero = np.zeros(1, dtype=np.int64)
        need = np.full((1, depths), NOT_NEEDED)
        return cls(need, zero, np.array([resident]), zero, zero, zero, np.zeros(1), np.array([-1]))

    @classmethod
    def joined(cls, some: Sequence[Labels]) -> Labels:
        """Several sets of labels, joined into one."""
        return cls(*map(np.concatenate, zip(*some)))

    def at(self, places: Any) -> Labels:
        """The labels at some places: indices or a mask."""
        return Labels(*(column[places] for column in self))

    def best(self, counts_work: bool) -> np.ndarray:
        """Indices of the labels that no other label dominates. counts_work: whether work counts as a cost."""
        _, rank = np.unique(-self.value, return_inverse=True)
        columns = [rank.reshape(-1), *self.need.T, self.gradients, self.resident, self.first, self.update]
        return undominated(np.stack([*columns, *([self.work] if counts_work else [])], axis=1))


class History:
    """All choices of a search. Each is a code for one unit, and points to the choice for the unit above it."""

    def __init__(self) -> None:
        self.codes: list[str] = []  # for each call of `add`, the code that it gave to its labels
        self.earlier: list[np.ndarray] = []  # for each call of `add`, the labels' choices before; -1: none
        self.count = 0

    def add(self, code: str, earlier: np.ndarray) -> np.ndarray:
        """Add one choice to each of some labels; returns the numbers of the new choices.

        code: the unit's code. earlier: the labels' latest choices.
        """
        self.codes.append(code)
        self.earlier.append(earlier)
        self.count += len(earlier)
        return np.arange(self.count - len(earlier), self.count)

    def code(self, choice: int, frozen: int) -> str:
        """The letters of all units up to a choice: first `frozen` frozen units, then the choices from there up."""
        offsets = np.cumsum([0, *map(len, self.earlier)])
        letters = FROZEN.letter * frozen
        while choice >= 0:
            step = int(np.searchsorted(offsets, choice, side="right")) - 1
            letters += self.codes[step]
            choice = int(self.earlier[step][choice - offsets[step]])
        return letters
