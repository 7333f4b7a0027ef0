"""Identical vectors as one entry with many pictures, since hundreds of copies in a graph hurt the recall of the rest.

`find_copies` is for searches whose scores must not tell copies apart. Pure functions over arrays; nothing here knows
FAISS or files.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from index.types import Ids, Vectors

_LOOKED_AT = 16  # values of a row that say where to look for its copies
_COMPARED = 4096  # rows at a time


@dataclass(frozen=True, eq=False)
class Entries:
    """m entries over n pictures: entry e stands for `pictures[offsets[e]:offsets[e + 1]]`, ascending."""

    offsets: Ids  # (m + 1,)
    pictures: Ids  # (n,)
    by_picture: Ids  # (n,) entry of the i-th smallest picture id
    sorted_pictures: Ids  # (n,)

    @classmethod
    def from_array(cls, values: Ids) -> Entries:
        """From what `to_array` gave. Raises ValueError for anything else."""
        m, n = (int(value) for value in values[:2])
        if len(values) != 3 + m + 3 * n:
            raise ValueError("not a file of entries")
        cuts = [2, 3 + m, 3 + m + n, 3 + m + 2 * n, 3 + m + 3 * n]
        return cls(*(values[start:end] for start, end in pairwise(cuts)))

    def to_array(self) -> Ids:
        """(3 + m + 3 n,) int64: m, n, then the four arrays."""
        counts = np.array([len(self), len(self.pictures)], dtype="<i8")
        return np.concatenate([counts, self.offsets, self.pictures, self.by_picture, self.sorted_pictures])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def expand(self, entries: Ids) -> Ids:
        """The pictures of some entries, in the entries' order."""
        parts = [self.pictures[self.offsets[entry] : self.offsets[entry + 1]] for entry in entries.tolist()]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

    def representatives(self, entries: Ids | slice = slice(None)) -> Ids:
        """The smallest picture id of some entries, or of all."""
        return np.asarray(self.pictures[self.offsets[:-1][entries]])

    def find_emptied(self, removed: Ids) -> Ids:
        """Entries of which no picture is left once `removed` (r,), all of them among the pictures, are gone."""
        entries = self.by_picture[np.searchsorted(self.sorted_pictures, removed)]
        touched, gone = np.unique(entries, return_counts=True)
        return np.asarray(touched[gone == self.offsets[touched + 1] - self.offsets[touched]])


def group_copies(pictures: Ids, rows: Vectors, crcs: NDArray[np.int64]) -> Entries:
    """Entries for `pictures` (n,) ascending with `rows` (n, d) and their CRCs (n,): equal rows share one.

    The CRC only says where to look: rows are compared byte by byte.
    """
    return _make_entries(pictures, _find_firsts(rows, crcs))


def find_copies(rows: Vectors) -> tuple[Ids, Ids]:
    """Rows of (n, d) that equal an earlier one (m,), ascending, and for each the earliest such row (m,)."""
    columns = np.linspace(0, rows.shape[1] - 1, min(_LOOKED_AT, rows.shape[1]), dtype=np.int64)
    bits = (rows[:, columns] + np.float32(0)).view(np.int32).astype(np.int64)  # + 0 makes -0.0 to 0.0
    factors = np.random.default_rng(0).integers(1, 2**62, len(columns), dtype=np.int64) | 1
    first = _find_firsts(rows, (bits * factors).sum(axis=1))  # overflows on purpose: any mixture will do
    copies = np.flatnonzero(first != np.arange(len(rows)))
    return copies, first[copies]


def _find_firsts(rows: Vectors, keys: NDArray[np.int64]) -> Ids:
    """(n,) the earliest row that equals each of `rows`; equal rows have equal `keys`."""
    first = np.arange(len(rows))
    order = np.argsort(keys, kind="stable")
    same = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    for group in np.split(same, np.flatnonzero(np.diff(same) != 1) + 1) if len(same) else []:
        _link_equal(order[group[0] : group[-1] + 2], rows, first)
    return first


def _link_equal(members: Ids, rows: Vectors, first: Ids) -> None:
    """Among rows of one CRC, point each at the earliest one that equals it."""
    left = members
    while len(left) > 1:
        blocks = (left[start : start + _COMPARED] for start in range(0, len(left), _COMPARED))
        equal = np.concatenate([(rows[block] == rows[left[0]]).all(axis=1) for block in blocks])
        first[left[equal]] = left[0]
        left = left[~equal]


def _make_entries(pictures: Ids, first: Ids) -> Entries:
    order = np.argsort(first, kind="stable")  # members of an entry together, ascending
    starts = np.flatnonzero(np.diff(first[order], prepend=-1))
    offsets = np.append(starts, len(first)).astype(np.int64)
    entry_of_row = np.empty(len(first), dtype=np.int64)
    entry_of_row[order] = np.repeat(np.arange(len(starts)), np.diff(offsets))
    return Entries(offsets, pictures[order].astype(np.int64), entry_of_row, pictures.astype(np.int64))
