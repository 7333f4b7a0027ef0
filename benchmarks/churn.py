"""What churn and copies do to an HNSW index of ours.

    python -m benchmarks.churn [--items 100000] [--size 64]

Replaces half of the items and deletes 30 %, opens the index anew, and prints recall@10 against exact search before
and after `compact`, beside a fresh build of the same items. Then 25 groups of 1,000 identical vectors among the items:
whether every one of them finds itself, and the recall of the rest with and without the copies, beside plain FAISS.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import faiss
import numpy as np

from benchmarks.machine import describe_machine, print_table
from benchmarks.vector_index import draw_clustered, make_vector_index, put_rows, write_sized_bundle
from index.bundle import Bundle
from index.catalog_writer import CatalogWriter
from index.compaction import compact_index
from index.layout import Layout
from index.searcher import Searcher
from index.types import Vectors
from index.writer import IndexWriter, Remove

QUERIES = 500
GROUPS, COPIES = 25, 1000
K = 10


def compact(layout: Layout) -> float:
    """Seal; seconds."""
    started = time.perf_counter()
    with CatalogWriter(layout.catalog) as catalog:
        compact_index(layout, catalog)
    return time.perf_counter() - started


def measure_recall(layout: Layout, living: dict[str, Vectors], queries: Vectors) -> float:
    """recall@10 against exact search in float64, of a searcher that is opened anew; equal scores count as found."""
    rows = np.stack(list(living.values()))
    found = 0
    with Searcher(layout.folder) as searcher:
        model = searcher.generation.model_id
        for query in queries:
            worst = np.partition(rows @ query, -K)[-K]
            matches = searcher.search(query, K, model=model).matches
            found += sum(match.score >= worst - 1e-5 for match in matches)
    return found / (K * len(queries))


def churn(folder: Path, bundle: Bundle, rows: Vectors, queries: Vectors) -> list[tuple[object, ...]]:
    """Replace half, delete 30 %, and measure."""
    count = len(rows)
    layout = make_vector_index(folder / "churned", bundle, "hnsw")
    put_rows(layout, bundle, rows)
    built = compact(layout)
    living = {f"item-{number}": row for number, row in enumerate(rows)}
    before = measure_recall(layout, living, queries)
    replaced = draw_clustered(count // 2, rows.shape[1], seed=2)
    put_rows(layout, bundle, replaced, replace_old=True)
    living.update({f"item-{number}": row for number, row in enumerate(replaced)})
    gone = [f"item-{number}" for number in range(0, count, 10) for number in range(number, number + 3)]
    with CatalogWriter(layout.catalog) as catalog, IndexWriter(layout, catalog) as writer:
        owners = [catalog.find_owner(key) for key in gone]
        writer.apply([Remove(owner.item) for owner in owners if owner is not None])
    for key in gone:
        del living[key]
    unsealed = measure_recall(layout, living, queries)
    sealed_in = compact(layout)
    after = measure_recall(layout, living, queries)
    fresh = make_vector_index(folder / "fresh", bundle, "hnsw")
    put_rows(fresh, bundle, np.stack(list(living.values())))
    compact(fresh)
    return [
        (f"{count:,} items as built", before, f"{built:.0f}"),
        (f"half replaced, 30 % deleted, {len(living):,} left: snapshot and delta", unsealed, ""),
        ("the same after `compact`", after, f"{sealed_in:.0f}"),
        ("a fresh build of the same items", measure_recall(fresh, living, queries), ""),
    ]


def copy_many(folder: Path, bundle: Bundle, rows: Vectors, queries: Vectors) -> list[tuple[object, ...]]:
    """25 groups of 1,000 identical vectors among the rest, and the rest alone."""
    rest = rows[: len(rows) - GROUPS * COPIES]
    originals = draw_clustered(GROUPS, rows.shape[1], seed=3)
    copies = np.repeat(originals, COPIES, axis=0)
    layout = make_vector_index(folder / "copies", bundle, "hnsw")
    put_rows(layout, bundle, np.concatenate([rest, copies]))
    compact(layout)
    alone = make_vector_index(folder / "alone", bundle, "hnsw")
    put_rows(alone, bundle, rest)
    compact(alone)
    everything = np.concatenate([rest, copies])
    return [
        ("every copy finds itself at k = 1,000", f"{count_finding_themselves(layout, originals)} of {GROUPS * COPIES}"),
        ("recall@10 of the rest, with the copies", _recall_of_rest(layout, everything, queries)),
        ("recall@10 of the rest, without them", _recall_of_rest(alone, rest, queries)),
        ("plain FAISS HNSW32 over all, with the copies", measure_faiss(everything, queries)),
        ("plain FAISS HNSW32 over the rest alone", measure_faiss(rest, queries)),
    ]


def _recall_of_rest(layout: Layout, rows: Vectors, queries: Vectors) -> float:
    return measure_recall(layout, {str(place): row for place, row in enumerate(rows)}, queries)


def count_finding_themselves(layout: Layout, originals: Vectors) -> int:
    """Copies that are among the 1,000 results for their own vector; the copies follow the rest, group by group."""
    found = 0
    with Searcher(layout.folder) as searcher:
        model, size = searcher.generation.model_id, searcher.info().size
        first = size - GROUPS * COPIES
        for group, original in enumerate(originals):
            wanted = {f"item-{first + group * COPIES + place}" for place in range(COPIES)}
            matches = searcher.search(original, 1000, model=model).matches
            found += len(wanted & {match.item.key for match in matches})
    return found


def measure_faiss(rows: Vectors, queries: Vectors) -> float:
    """recall@10 of FAISS's own HNSW at the same build and search breadth."""
    index = faiss.IndexHNSWFlat(rows.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 200
    index.add(rows)
    index.hnsw.efSearch = 256
    _, found = index.search(queries, K)
    worst = [np.partition(rows @ query, -K)[-K] for query in queries]
    hits = [(rows[ids] @ query >= low - 1e-5).sum() for ids, query, low in zip(found, queries, worst, strict=True)]
    return float(sum(hits)) / (K * len(queries))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=64)
    arguments = parser.parse_args()
    print(describe_machine("faiss-cpu"), flush=True)
    rows = draw_clustered(arguments.items, arguments.size)
    queries = draw_clustered(QUERIES, arguments.size, seed=9)
    with tempfile.TemporaryDirectory() as name:
        bundle = write_sized_bundle(Path(name) / "bundle", arguments.size)
        print_table(("churn", "recall@10", "seconds to seal"), churn(Path(name), bundle, rows, queries))
        print()
        print_table(("copies: 25 groups of 1,000 among them", "value"), copy_many(Path(name), bundle, rows, queries))


if __name__ == "__main__":
    main()
