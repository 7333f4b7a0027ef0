"""The exact nearest neighbours by inner product or by distance, in bounded memory: numpy alone, every pair compared.

Scores are float32 products as BLAS rounds them, and BLAS sums the same pair in another order at the edge of a matrix
than in its middle: scores that differ by less than about 1e-6 may come in either order. Equal vectors have equal
scores all the same. What may change here: speed. What may not: that no neighbour is missed, and the order of equal
scores.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from index.copies import find_copies
from index.types import Ids, Vectors

NeighbourSearch = Callable[[Vectors, Vectors, int], tuple[Vectors, Ids]]
"""(queries (q, d), gallery (g, d), k <= g) -> scores (q, k) float32, gallery positions (q, k) int64.

Best first; of equal scores, the smaller position first.
"""

_EVERY = 16  # one score of so many is looked at to guess where the k-th best lies
_SPARE = 1.5  # the guess aims at so many times k
_PARTS = 8  # of a chunk's queries, each looked through by a thread
_NONE = np.iinfo(np.int64).max  # a key after every real one


@dataclass(frozen=True)
class Chunks:
    """How many queries and gallery vectors are multiplied at a time: 5 bytes a cell, 25 where all scores are equal.

    They change speed and memory, and the neighbours no more than BLAS's rounding does.
    """

    queries: int = 512
    gallery: int = 32_768


DEFAULT_CHUNKS = Chunks()


def search_exact(queries: Vectors, gallery: Vectors, k: int, chunks: Chunks = DEFAULT_CHUNKS) -> tuple[Vectors, Ids]:
    """Scores (q, k) float32 and gallery positions (q, k) int64 of the k largest inner products; k at most g.

    Best first; of equal scores, the smaller position first. Beside what it returns, takes memory for one chunk's
    product and for k neighbours of a chunk's queries.
    """
    return _search(queries, gallery, None, k, chunks)


def search_nearest(queries: Vectors, gallery: Vectors, k: int, chunks: Chunks = DEFAULT_CHUNKS) -> tuple[Vectors, Ids]:
    """As `search_exact`, by Euclidean distance, the nearest first.

    A score is q . g - |g|^2 / 2, which orders the neighbours of a query as -|q - g| does. Vectors far from the
    origin lose digits in it: `centre` them first.
    """
    offsets: Vectors = (np.einsum("gd,gd->g", gallery, gallery, dtype=np.float64) / -2).astype(np.float32)
    return _search(queries, gallery, offsets, k, chunks)


def centre(queries: Vectors, gallery: Vectors) -> tuple[Vectors, Vectors]:
    """Both sides without the gallery's mean, which changes no distance; one array where both are one."""
    mean = gallery.mean(axis=0, dtype=np.float64).astype(np.float32)
    moved = gallery - mean
    return (moved, moved) if queries is gallery else (queries - mean, moved)


@dataclass(frozen=True, eq=False)
class _Copies:
    """Gallery rows that equal an earlier one: they get its very score, whatever BLAS rounds where they lie."""

    copies: Ids  # (m,) ascending
    places: Ids  # (m,) which of `originals` each equals
    originals: Ids  # (o,) ascending

    @classmethod
    def find(cls, gallery: Vectors) -> _Copies:
        copies, firsts = find_copies(gallery)
        originals, places = np.unique(firsts, return_inverse=True)
        return cls(copies, places, originals)

    def make_room(self, queries: int) -> Vectors:
        """(b, o) for the originals' scores, since copies may lie in later chunks."""
        return np.empty((queries, len(self.originals)), np.float32)

    def level(self, scores: Vectors, first: int, known: Vectors) -> None:
        """Note the originals' scores of a chunk (b, c) from position `first` on, and give them to its copies."""
        ends = (first, first + scores.shape[1])
        start, stop = np.searchsorted(self.originals, ends)
        known[:, start:stop] = scores[:, self.originals[start:stop] - first]
        start, stop = np.searchsorted(self.copies, ends)
        scores[:, self.copies[start:stop] - first] = known[:, self.places[start:stop]]


def _search(queries: Vectors, gallery: Vectors, offsets: Vectors | None, k: int, chunks: Chunks) -> tuple[Vectors, Ids]:
    scores = np.empty((len(queries), k), np.float32)
    positions = np.empty((len(queries), k), np.int64)
    copies = _Copies.find(gallery)
    with ThreadPoolExecutor() as pool:  # numpy lets go of Python's lock in all that `_merge` does
        for start in range(0, len(queries), chunks.queries):
            rows = slice(start, start + chunks.queries)
            parts = np.array_split(np.arange(len(queries[rows])), _PARTS)
            places = [slice(part[0], part[-1] + 1) for part in parts if part.size]
            known = copies.make_room(len(queries[rows]))
            best = [np.empty((place.stop - place.start, 0), np.int64) for place in places]
            for first in range(0, len(gallery), chunks.gallery):
                columns = slice(first, first + chunks.gallery)
                found = queries[rows] @ gallery[columns].T  # (b, c)
                if offsets is not None:
                    found += offsets[columns]
                copies.level(found, first, known)
                best = list(pool.map(partial(_merge, k=k, first=first), best, (found[place] for place in places)))
            for place, (best_scores, best_positions) in zip(places, pool.map(_unpack, best), strict=True):
                scores[rows][place], positions[rows][place] = best_scores, best_positions
    return scores, positions


def _merge(best: Ids, scores: Vectors, k: int, first: int) -> Ids:
    """(b, at most k) the best keys so far and of another chunk's scores (b, c), in any order."""
    limits = _unpack_scores(best.max(axis=1)) if best.shape[1] == k else None  # (b,) the k-th best so far
    keys = np.concatenate((best, _select(scores, k, first, limits)), axis=1)
    if keys.shape[1] <= k:
        return keys
    keys.partition(k - 1, axis=1)
    return keys[:, :k].copy()  # a copy, so that the chunk's memory goes


def _select(scores: Vectors, k: int, first: int, limits: Vectors | None = None) -> Ids:
    """(b, n) keys of those scores (b, c) that may be among the k best of a row, filled up with `_NONE`.

    They are the scores above `limits` (b,): what ties with the k-th best so far comes after it. Without limits, a
    guess from some of the scores keeps about 1.5 k of a row; a row where it keeps too few gets the true k-th best. So
    one quick comparison is all that most scores see.
    """
    width = scores.shape[1]
    if limits is None and 4 * k >= width:
        return _pack(scores, np.arange(first, first + width))
    kept = scores >= _guess_limits(scores, k)[:, None] if limits is None else scores > limits[:, None]
    counts = np.count_nonzero(kept, axis=1)
    for row in np.flatnonzero(counts < k) if limits is None else ():
        kept[row] = scores[row] >= np.partition(scores[row], width - k)[width - k]
        counts[row] = np.count_nonzero(kept[row])
    places = np.flatnonzero(kept)
    keys = np.full((len(scores), counts.max()), _NONE, np.int64)
    starts = np.repeat(np.arange(len(scores)) * width - first, counts)
    keys[np.arange(keys.shape[1]) < counts[:, None]] = _pack(scores.reshape(-1)[places], places - starts)
    return keys


def _guess_limits(scores: Vectors, k: int) -> Vectors:
    """(b,) a score that somewhat more than k of a row's reach, as every 16th column has it."""
    some = scores[:, ::_EVERY].copy()
    place = max(0, some.shape[1] - int(k * _SPARE / _EVERY) - 4)
    some.partition(place, axis=1)
    limits: Vectors = some[:, place]
    return limits


def _pack(scores: Vectors, positions: Ids) -> Ids:
    """int64 keys: score descending in the upper half, gallery position in the lower, so one integer orders both.

    No two keys of a row are equal, so that any partition or sort gives the same neighbours. Overwrites `scores`.
    """
    scores += np.float32(0)  # makes -0.0 to 0.0: they must tie
    bits = _flip(scores.view(np.int32))
    keys = np.invert(bits, out=bits).astype(np.int64)
    keys <<= 32
    keys |= positions
    return keys


def _unpack(keys: Ids) -> tuple[Vectors, Ids]:
    """Scores and positions, best first, of keys (b, k) in any order."""
    ordered = np.sort(keys, axis=1)
    return _unpack_scores(ordered), ordered & 0xFFFFFFFF


def _unpack_scores(keys: Ids) -> Vectors:
    return _flip((~(keys >> 32)).astype(np.int32)).view(np.float32)


def _flip(bits: NDArray[np.int32]) -> NDArray[np.int32]:
    """A float32's bits to an int32 of the same order, and back: a negative float's bits count away from zero."""
    flipped = bits >> 31
    flipped &= 0x7FFFFFFF
    flipped ^= bits  # in place: a temporary of a chunk's size costs more than the arithmetic
    return flipped
