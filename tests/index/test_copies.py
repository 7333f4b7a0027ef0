"""Identical vectors as one entry: equal to brute force for any mix of copies, and for any CRCs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.copies import Entries, find_copies, group_copies
from index.types import Ids, Vectors
from index.vectors import row_crc


@dataclass(frozen=True, eq=False)
class Gallery:
    """Pictures (n,) ascending with rows (n, 3), of which many are alike."""

    pictures: Ids
    rows: Vectors
    crcs: Ids

    def groups(self) -> list[list[int]]:
        """Brute force: the pictures of each distinct row, ascending, by their smallest."""
        found: dict[bytes, list[int]] = {}
        for picture, row in zip(self.pictures.tolist(), self.rows, strict=True):
            found.setdefault(row.tobytes(), []).append(picture)
        return sorted(found.values())


CHECKSUMS: list[Callable[[Vectors], int]] = [
    row_crc,
    lambda row: 7,  # every row collides with every other
    lambda row: row_crc(row) % 3,
]


@st.composite
def galleries(draw: st.DrawFn) -> Gallery:
    """Up to 40 pictures of up to 6 different rows, with a real checksum or one that collides."""
    kinds = draw(st.lists(st.integers(0, 5), min_size=1, max_size=40))
    ids = draw(st.lists(st.integers(1, 500), min_size=len(kinds), max_size=len(kinds), unique=True))
    rows = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)[kinds]
    checksum = draw(st.sampled_from(CHECKSUMS))
    return Gallery(np.array(sorted(ids)), rows, np.array([checksum(row) for row in rows]))


def group(gallery: Gallery) -> Entries:
    return group_copies(gallery.pictures, gallery.rows, gallery.crcs)


def split(entries: Entries) -> list[list[int]]:
    """The pictures of each entry."""
    return [entries.expand(np.array([entry])).tolist() for entry in range(len(entries))]


@settings(max_examples=200, deadline=None)
@given(galleries())
def test_entries_are_the_groups_of_equal_rows(gallery: Gallery) -> None:
    entries = group(gallery)
    assert split(entries) == gallery.groups()  # each ascending, and in the order of their smallest
    assert len(entries) == len(gallery.groups())
    assert entries.representatives().tolist() == [pictures[0] for pictures in gallery.groups()]


@settings(max_examples=200, deadline=None)
@given(galleries(), st.randoms(use_true_random=False))
def test_emptied_are_the_groups_without_a_living_picture(gallery: Gallery, random: np.random.Generator) -> None:
    removed = {picture for picture in gallery.pictures.tolist() if random.random() < 0.6}
    expected = [entry for entry, pictures in enumerate(gallery.groups()) if removed.issuperset(pictures)]
    found = group(gallery).find_emptied(np.array(sorted(removed), dtype=np.int64))
    assert found.tolist() == expected


@settings(max_examples=50, deadline=None)
@given(galleries())
def test_an_array_gives_the_same_entries_back(gallery: Gallery) -> None:
    entries = group(gallery)
    array = entries.to_array()
    assert array.dtype == np.dtype("<i8")
    again = Entries.from_array(np.frombuffer(array.tobytes(), dtype="<i8"))
    assert split(again) == gallery.groups()
    assert again.find_emptied(gallery.pictures).tolist() == list(range(len(entries)))
    np.testing.assert_array_equal(again.to_array(), array)


def test_expands_in_the_order_asked() -> None:
    rows = np.eye(3, dtype=np.float32)[[0, 1, 0, 2, 1, 0]]
    entries = group_copies(np.array([2, 4, 6, 8, 10, 12]), rows, np.array([row_crc(row) for row in rows]))
    assert entries.expand(np.array([2, 0])).tolist() == [8, 2, 6, 12]
    assert entries.representatives(np.array([1, 1, 0])).tolist() == [4, 4, 2]
    assert entries.expand(np.empty(0, dtype=np.int64)).tolist() == []


def test_rows_that_differ_in_one_bit_are_not_copies() -> None:
    rows = np.full((2, 4), 0.5, dtype=np.float32)
    rows[1, 3] = np.nextafter(np.float32(0.5), np.float32(1))
    assert len(group_copies(np.array([1, 2]), rows, np.array([7, 7]))) == 2


def test_no_pictures() -> None:
    nothing = np.empty(0, dtype=np.int64)
    entries = group_copies(nothing, np.empty((0, 4), dtype=np.float32), nothing)
    assert len(entries) == len(Entries.from_array(entries.to_array())) == 0
    assert entries.find_emptied(nothing).tolist() == []


@pytest.mark.parametrize("values", [[], [1], [1, 2, 3], [0, 0, 0, 0], [-1, -1]])
def test_other_arrays_are_refused(values: list[int]) -> None:
    with pytest.raises(ValueError, match=r"not a file of entries|not enough values"):
        Entries.from_array(np.array(values, dtype=np.int64))


def test_find_copies_against_plain_loops() -> None:
    random = np.random.default_rng(4)
    rows = random.integers(-1, 2, size=(300, 4)).astype(np.float32)  # 81 different rows
    copies, firsts = find_copies(rows)
    plain = {row: rows.tolist().index(rows[row].tolist()) for row in range(300)}
    expected = [(row, first) for row, first in plain.items() if first != row]
    assert list(zip(copies.tolist(), firsts.tolist(), strict=True)) == expected
    assert len(expected) > 200
    none, _ = find_copies(random.normal(size=(300, 64)).astype(np.float32))
    assert none.size == 0


def test_rows_that_differ_where_nobody_looks_first_are_no_copies() -> None:
    rows = np.zeros((3, 64), np.float32)
    rows[1, 2] = 1.0
    copies, firsts = find_copies(rows)
    assert (copies.tolist(), firsts.tolist()) == ([2], [0])
