"""The exact nearest neighbours by inner product or by distance, in bounded memory: numpy alone, every pair compared.

Scores are float32 products as BLAS rounds them, and BLAS sums the same pair in another order at the edge of a matrix
than in its middle: scores that differ by less than about 1e-6 may come in either order. What may change here: speed.
What may not: that no neighbour is missed, and the order of equal scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.types import Ids, Vectors

NeighbourSearch = Callable[[Vectors, Vectors, int], tuple[Vectors, Ids]]
"""(queries (q, d), gallery (g, d), k <= g) -> scores (q, k) float32, gallery positions (q, k) int64.

Best first; of equal scores, the smaller position first.
"""

_EVERY = 16  # one score of so many is looked at to guess where the k-th best lies
_SPARE = 1.5  # the guess aims at so many times k
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


def _search(queries: Vectors, gallery: Vectors, offsets: Vectors | None, k: int, chunks: Chunks) -> tuple[Vectors, Ids]:
    scores = np.empty((len(queries), k), np.float32)
    positions = np.empty((len(queries), k), np.int64)
    for start in range(0, len(queries), chunks.queries):
        rows = slice(start, start + chunks.queries)
        best = np.empty((len(queries[rows]), 0), np.int64)
        for first in range(0, len(gallery), chunks.gallery):
            columns = slice(first, first + chunks.gallery)
            found = queries[rows] @ gallery[columns].T  # (b, c)
            if offsets is not None:
                found += offsets[columns]
            best = _keep_best(np.concatenate((best, _select(found, k, first)), axis=1), k)
        best.sort(axis=1)
        scores[rows], positions[rows] = _unpack(best)
    return scores, positions


def _keep_best(keys: Ids, k: int) -> Ids:
    """(b, at most k) the smallest keys of each row, in any order."""
    if keys.shape[1] <= k:
        return keys
    keys.partition(k - 1, axis=1)
    return keys[:, :k].copy()  # a copy, so that the chunk's memory goes


def _select(scores: Vectors, k: int, first: int) -> Ids:
    """(b, at least k) keys of scores (b, c), the k best of each row among them, filled up with `_NONE`.

    A guess, made from some of the scores, keeps about 1.5 k of a row; a row where it keeps too few gets the true
    k-th best as its limit. So one quick comparison a cell is all that most cells ever see.
    """
    width = scores.shape[1]
    if 4 * k >= width:
        return _pack(scores, np.arange(first, first + width))
    limits = _guess_limits(scores, k)
    kept = scores >= limits[:, None]
    counts = np.count_nonzero(kept, axis=1)
    for row in np.flatnonzero(counts < k):
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
    bits = _flip((~(keys >> 32)).astype(np.int32))
    return bits.view(np.float32), keys & 0xFFFFFFFF


def _flip(bits: NDArray[np.int32]) -> NDArray[np.int32]:
    """A float32's bits to an int32 of the same order, and back: a negative float's bits count away from zero."""
    flipped = bits >> 31
    flipped &= 0x7FFFFFFF
    flipped ^= bits  # in place: a temporary of a chunk's size costs more than the arithmetic
    return flipped
