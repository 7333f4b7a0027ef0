"""How FAISS holds a snapshot: `flat`, `hnsw` or any factory string, built and asked through one interface.

What may change here: names for recipes, and how one is tuned. Not: that a search never returns an excluded entry.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from index.errors import UsageError
from index.types import Ids, Vectors

_FAISS: Any = faiss  # its stubs know neither its search parameters nor that arrays stand for pointers
_INCAPABLE = (  # of leaving removed entries out, these kinds are
    *(faiss.IndexPQ, faiss.IndexFastScan, faiss.IndexAdditiveQuantizer),
    *(faiss.IndexNSG, faiss.IndexNNDescent, faiss.IndexLSH),
)
_NAMES = {"flat": "Flat", "hnsw": "HNSW32"}
_BUILD_BREADTH = 200  # efConstruction of HNSW
_SEARCH_BREADTH = 256  # efSearch of HNSW, at least; more when more is asked for
_PROBED_SHARE = 0.1  # of an IVF's lists
_TRAINED_ON = 200_000  # rows, at most


@dataclass(frozen=True)
class Recipe:
    """A recipe by its name and the FAISS factory string behind it."""

    name: str
    factory: str


def parse_recipe(text: str) -> Recipe:
    """`flat`, `hnsw`, or a FAISS factory string for vectors of any size. Raises UsageError."""
    if text in _NAMES:
        return Recipe(text, _NAMES[text])
    if re.search(r"IDMap|Refine|RFlat", text):
        raise UsageError(
            "this factory string is not for snapshots", where=text, remedy="ids and refinement are ours: leave them out"
        )
    try:
        index = faiss.index_factory(64, text, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise UsageError(
            "no such recipe",
            where=text,
            expected=f"{', '.join(_NAMES)} or a FAISS factory string",
            found=_last_words(error),
        ) from error
    if isinstance(_innermost(index), _INCAPABLE):
        raise UsageError(
            "this kind of index can not leave entries out of a search",
            where=text,
            expected="flat, hnsw, or IVF, HNSW or SQ in a FAISS factory string",
        )
    return Recipe(text, text)


def _last_words(error: RuntimeError) -> str:
    """What FAISS says of an error, without where in its source it says so."""
    return str(error).rpartition(": ")[2]


def build_faiss(rows: Vectors, recipe: Recipe) -> faiss.Index:
    """A FAISS index over unit `rows` (n, d) float32, by inner product; entry number = row.

    Raises UsageError for a recipe that does not fit the vectors, too few of them or of another size, or whose kind of
    index can not leave entries out of a search.
    """
    try:
        index = faiss.index_factory(rows.shape[1], recipe.factory, faiss.METRIC_INNER_PRODUCT)
        hnsw = getattr(_innermost(index), "hnsw", None)
        if hnsw is not None:
            hnsw.efConstruction = _BUILD_BREADTH
        if not index.is_trained:
            index.train(rows[np.linspace(0, len(rows) - 1, min(len(rows), _TRAINED_ON), dtype=np.int64)])
        index.add(rows)
        if len(rows):
            search_faiss(index, rows[0], 1, np.zeros(1, dtype=np.int64))  # some kinds can not leave entries out
    except RuntimeError as error:
        raise UsageError(
            "the recipe does not fit these vectors",
            where=recipe.name,
            expected=f"one for {len(rows)} vectors of {rows.shape[1]}",
            found=_last_words(error),
            remedy="choose another --recipe",
        ) from error
    return index


def search_faiss(index: faiss.Index, query: Vectors, wanted: int, excluded: Ids) -> Ids:
    """Entry numbers (m,), m at most `wanted`, nearest to a unit `query` (d,), best first and none of `excluded`.

    An approximate index may return fewer than there are.
    """
    faiss.omp_set_num_threads(1)  # of this thread: the callers are a thread a core already
    selector = _select_all_but(excluded, index.ntotal) if len(excluded) else None
    parameters = _parameters(index, wanted, selector)
    _, entries = index.search(query[None], min(wanted, index.ntotal), params=parameters)
    found: NDArray[np.int64] = entries[0]
    return found[(found >= 0) & (found < index.ntotal)]


def _select_all_but(excluded: Ids, total: int) -> Any:
    included = np.ones(total, dtype=bool)
    included[excluded] = False
    return _FAISS.IDSelectorBitmap(np.packbits(included, bitorder="little"))


def _innermost(index: faiss.Index) -> Any:
    """What searches, behind PCA and other transforms of vectors, which hand its parameters on."""
    inner = faiss.downcast_index(index)
    while isinstance(inner, faiss.IndexPreTransform):
        inner = faiss.downcast_index(inner.index)
    return inner


def _parameters(index: faiss.Index, wanted: int, selector: Any | None) -> Any:
    inner = _innermost(index)
    options = {} if selector is None else {"sel": selector}
    if isinstance(inner, faiss.IndexHNSW):
        return _FAISS.SearchParametersHNSW(efSearch=max(_SEARCH_BREADTH, 2 * wanted), **options)
    if isinstance(inner, faiss.IndexIVF):
        return _FAISS.SearchParametersIVF(nprobe=max(1, int(inner.nlist * _PROBED_SHARE)), **options)
    return _FAISS.SearchParameters(**options)
