"""SQLite's write-ahead log against its own checksums: a changed byte in a log that a kill left is found, and put right.

SQLite reads a log up to the first frame whose checksum is wrong and takes that for its end: a power cut leaves such an
end, of a transaction that was never acknowledged. A changed byte does so, too, and hides every frame after it, without
a word. The two can be told apart: the checksums are sums, so what one changed byte does to them says which it was.
Format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log. Pure but for reading and for writing one byte.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.unwritable import log_of

_HEADER, _FRAME = 32, 24  # bytes
_SMALLEST_PAGE = 512  # bytes
_MOST_HEALED = 64  # bytes of one log
_DELTAS = np.array([sign * byte << 8 * place for place in range(4) for byte in range(1, 256) for sign in (1, -1)])

Words = NDArray[np.uint32]


@dataclass(frozen=True)
class WrongByte:
    """Where a log was changed."""

    offset: int  # of the byte; of the frame that it is in where its sums do not tell which
    right: int | None  # what it was, where that is sure


@dataclass(frozen=True)
class _Part:
    """Something under a checksum: where its bytes and its checksum lie in the log, and the checksum before it."""

    spans: tuple[tuple[int, int], ...]
    stored: int  # offset of the checksum
    before: Words  # (2,)


def find_wrong_byte(log: bytes, page_size: int) -> WrongByte | None:
    """The one changed byte that ends a log too early; None where there is none, or more than a byte is wrong."""
    if len(log) < _HEADER or page_size < _SMALLEST_PAGE:
        return None
    order = ">" if log[3] & 1 else "<"  # of the words that are summed
    for part in _list_parts(log, page_size):
        data = b"".join(log[start:end] for start, end in part.spans)
        found, stored = _sum(data, part.before, order), _read_words(log[part.stored : part.stored + 8], ">")
        salted = part.stored == _HEADER - 8 or log[part.stored - 8 : part.stored] == log[16:24]
        if salted and np.array_equal(found, stored):
            continue
        if np.array_equal(found, stored):
            return _compare(log, part.stored - 8, log[16:24])
        if not salted:  # the end: what lies there is older
            return None
        itself = _compare(log, part.stored, found.astype(">u4").tobytes())
        return _choose(part, _explain(log, part, found - stored, order) + ([itself] if itself else []))
    return None


def _list_parts(log: bytes, page_size: int) -> Iterator[_Part]:
    yield _Part(((0, 24),), 24, np.zeros(2, dtype=np.uint32))
    checksum = 24
    for start in range(_HEADER, len(log) - _FRAME - page_size + 1, _FRAME + page_size):
        before = _read_words(log[checksum : checksum + 8], ">")
        checksum = start + 16
        yield _Part(((start, start + 8), (start + _FRAME, start + _FRAME + page_size)), checksum, before)


def _read_words(data: bytes, order: str) -> Words:
    return np.frombuffer(data, dtype=f"{order}u4").astype(np.uint32)


@cache
def _powers(count: int) -> Words:
    """(count, 2, 2) what one step does to the two sums, 0 to count - 1 times: s0 += a + s1; s1 += b + s0."""
    step, found = np.array([[1, 1], [1, 2]], dtype=np.uint32), [np.eye(2, dtype=np.uint32)]
    for _ in range(count - 1):
        found.append(found[-1] @ step)
    return np.array(found)


@cache
def _effects(count: int) -> Words:
    """(count, 2, 2) how often word a, and word b, of each of `count` pairs counts in either sum: [pair, word, sum]."""
    powers = _powers(count)[::-1]  # the first pair is carried on most often
    return np.stack([powers.sum(axis=2, dtype=np.uint32), powers[:, :, 1]], axis=1)


def _sum(data: bytes, before: Words, order: str) -> Words:
    """(2,) SQLite's checksum of `data`, going on from another."""
    pairs = _read_words(data, order).reshape(-1, 2, 1)
    carried = (_powers(len(pairs) + 1)[-1] * before).sum(axis=1, dtype=np.uint32)
    return np.asarray(carried + (pairs * _effects(len(pairs))).sum(axis=(0, 1), dtype=np.uint32))


def _compare(log: bytes, offset: int, right: bytes) -> WrongByte | None:
    """The one byte in which the log at `offset` differs from what is right there."""
    wrong = [place for place, byte in enumerate(right) if log[offset + place] != byte]
    return WrongByte(offset + wrong[0], right[wrong[0]]) if len(wrong) == 1 else None


def _choose(part: _Part, fitting: list[WrongByte]) -> WrongByte | None:
    """The byte, where only one fits; the part, where several do."""
    if len(fitting) > 1:
        return WrongByte(part.spans[0][0], None)
    return fitting[0] if fitting else None


def _explain(log: bytes, part: _Part, difference: Words, order: str) -> list[WrongByte]:
    """Each byte of the part's data whose change makes the sums (2,) differ so; chance does not: 2^-40 or less.

    Of a word's highest byte the sums repeat every few hundred words, so several may fit.
    """
    places = [place for start, end in part.spans for place in range(start, end)]
    effects = _effects(len(places) // 8).reshape(-1, 2)  # (words, sums)
    deltas = _DELTAS.astype(np.uint32)
    words, changes = np.nonzero(effects[:, :1] * deltas == difference[0])
    both = effects[words, 1] * deltas[changes] == difference[1]
    found = []
    for word, delta in zip(words[both], changes[both], strict=True):
        place = int(delta) // 510  # of the byte in the word, from its lowest
        offset = places[4 * int(word) + (place if order == "<" else 3 - place)]
        right = log[offset] - (int(_DELTAS[delta]) >> 8 * place)
        if 0 <= right <= 255:
            found.append(WrongByte(offset, right))
    return found


def read_page_size(catalog: Path) -> int:
    """Bytes of a page of a SQLite database, by its header."""
    with catalog.open("rb") as file:
        size = int.from_bytes(file.read(18)[16:18], "big")
    return 65536 if size == 1 else size


def check_log(catalog: Path) -> WrongByte | None:
    """`find_wrong_byte` of the log beside a catalogue; before anything opens that: to close it clears the log."""
    try:
        return find_wrong_byte(log_of(catalog).read_bytes(), read_page_size(catalog))
    except FileNotFoundError:
        return None


def heal_log(catalog: Path) -> list[WrongByte]:
    """Put every changed byte right that hides a part of the log, while it is sure what it was; which they are."""
    found: list[WrongByte] = []
    while len(found) < _MOST_HEALED and (wrong := check_log(catalog)) is not None:
        found.append(wrong)
        if wrong.right is None:
            break
        descriptor = os.open(log_of(catalog), os.O_WRONLY)
        try:
            os.pwrite(descriptor, bytes([wrong.right]), wrong.offset)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return found
