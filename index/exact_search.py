"""The exact nearest neighbours by inner product, in bounded memory: numpy alone, every pair of vectors compared.

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


@dataclass(frozen=True)
class Chunks:
    """How many queries and gallery vectors `search_exact` multiplies at a time, which takes about 25 bytes a cell.

    They change speed and memory, and the neighbours no more than BLAS's rounding does.
    """

    queries: int = 512
    gallery: int = 8192


DEFAULT_CHUNKS = Chunks()


def search_exact(queries: Vectors, gallery: Vectors, k: int, chunks: Chunks = DEFAULT_CHUNKS) -> tuple[Vectors, Ids]:
    """Scores (q, k) float32 and gallery positions (q, k) int64 of the k largest inner products; k at most g.

    Best first; of equal scores, the smaller position first. Beside what it returns, takes memory for one chunk's
    product and for k neighbours of a chunk's queries.
    """
    scores = np.empty((len(queries), k), np.float32)
    positions = np.empty((len(queries), k), np.int64)
    for start in range(0, len(queries), chunks.queries):
        rows = slice(start, start + chunks.queries)
        scores[rows], positions[rows] = _unpack(_best_keys(queries[rows], gallery, k, chunks.gallery))
    return scores, positions


def _best_keys(queries: Vectors, gallery: Vectors, k: int, chunk: int) -> Ids:
    """(q, k) keys of the best gallery vectors, in ascending order, which is best first."""
    best = np.empty((len(queries), 0), np.int64)
    for start in range(0, len(gallery), chunk):
        keys = _pack(queries @ gallery[start : start + chunk].T, start)
        candidates = np.concatenate((best, keys), axis=1) if start else keys
        if candidates.shape[1] > k:
            candidates.partition(k - 1, axis=1)
        best = candidates[:, :k].copy()  # a copy, so that the chunk's memory goes
    best.sort(axis=1)
    return best


def _pack(scores: Vectors, start: int) -> Ids:
    """(q, c) int64: score descending in the upper half, gallery position in the lower, so one integer orders both.

    No two keys of a row are equal, so that any partition or sort gives the same neighbours. Overwrites `scores`.
    """
    scores += np.float32(0)  # makes -0.0 to 0.0: they must tie
    bits = _flip(scores.view(np.int32))
    keys = np.invert(bits, out=bits).astype(np.int64)
    keys <<= 32
    keys |= np.arange(start, start + scores.shape[1], dtype=np.int64)
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
