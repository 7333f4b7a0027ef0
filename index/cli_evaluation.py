"""The command `evaluate`.

What may change here: wording. Not: names of options and JSON fields, which are a contract.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from index.cli import JsonOption, ThreadsOption
from index.errors import UsageError
from index.terminal import print_facts, print_json, progress_bar

if TYPE_CHECKING:
    from index.evaluation import Plan


def evaluate(
    model: Annotated[
        Path | None, typer.Option("--model", help="A model bundle.", metavar="BUNDLE", show_default=False)
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", help="cub, cars, sop, inshop, grocery, folder or manifest.", show_default=False),
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", help="The data set's folder, or the manifest.", show_default=False)
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol", help="For grocery: shelf, catalogue or self. For cub: test, train or all.", show_default=False
        ),
    ] = None,
    embeddings: Annotated[
        Path | None, typer.Option("--embeddings", help="Vectors made elsewhere: npy or Parquet.", show_default=False)
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Their labels: npy, txt or CSV.", show_default=False)
    ] = None,
    query_embeddings: Annotated[
        Path | None, typer.Option("--query-embeddings", help="Queries, where they are apart.", show_default=False)
    ] = None,
    query_labels: Annotated[
        Path | None, typer.Option("--query-labels", help="The queries' labels.", show_default=False)
    ] = None,
    metric: Annotated[str, typer.Option("--metric", help="cosine, or for --embeddings euclidean.")] = "cosine",
    k: Annotated[
        list[int] | None, typer.Option("-k", help="Recall at this k; may be repeated.", min=1, show_default=False)
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="mAP over the whole ranking too; slower.")] = False,
    cmc: Annotated[int, typer.Option("--cmc", help="The CMC curve up to this rank; 0: none.", min=0)] = 0,
    clusterings: Annotated[
        int, typer.Option("--clusterings", help="Runs of k-means for NMI and AMI; 0: none. Slow.", min=0)
    ] = 0,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Measure recall@k, MAP@R and R-precision of a model on labelled pictures, or of vectors made elsewhere.

    Exact search; a query never finds itself, which is decided by its key. `folder`: one folder a class. `manifest`: a
    CSV, JSONL or Parquet file with path and label, and a column split (query, gallery) where they are apart. Where the
    model was trained on some of the classes, those and the others are reported apart too.

    Examples:

        \b
        crossmatch evaluate --model bundle --data grocery --root ../shared/data/grocery --protocol shelf
        crossmatch evaluate --model bundle --data folder --root ./photos --json
        crossmatch evaluate --embeddings x.npy --labels y.txt --metric euclidean -k 1 -k 10 --clusterings 3
    """
    from index.evaluation import Plan

    plan = Plan(tuple(sorted(set(k))) if k else None, full, cmc, clusterings)
    if embeddings is not None:
        if model or data or root or protocol:
            raise UsageError("vectors or a model, not both", expected="--embeddings, or --model, --data and --root")
        sides = (embeddings, labels), (query_embeddings, query_labels)
        fields = _evaluate_vectors(sides, metric, plan)
    else:
        if model is None or data is None or root is None:
            raise UsageError("nothing to evaluate", expected="--model, --data and --root, or --embeddings and --labels")
        if query_embeddings or labels or query_labels or metric != "cosine":
            raise UsageError("these options are for --embeddings", found="--labels, --query-* or --metric")
        fields = _evaluate_model(model, (data, root, protocol), threads, plan)
    if json:
        print_json(fields)
    else:
        print_facts(_flatten(fields))


def _evaluate_model(model: Path, data: tuple[str, Path, str | None], threads: int | None, plan: Plan) -> dict[str, Any]:
    from index.assessment import assess
    from index.bundle import read_bundle
    from index.datasets import read_protocol

    bundle = read_bundle(model)
    pictures = read_protocol(*data)
    with progress_bar("Encoding") as on_progress:
        return assess(bundle, data[0], pictures, threads, on_progress, plan).to_json()


def _evaluate_vectors(
    sides: tuple[tuple[Path, Path | None], tuple[Path | None, Path | None]], metric: str, plan: Plan
) -> dict[str, Any]:
    from index.assessment import assess_foreign
    from index.foreign_vectors import METRICS, read_foreign

    (gallery_path, labels), (query_path, query_labels) = sides
    if metric not in METRICS:
        raise UsageError("no such metric", where=metric, expected=" or ".join(METRICS))
    if query_labels and not query_path:
        raise UsageError("labels without queries", expected="--query-embeddings with --query-labels")
    gallery = read_foreign(gallery_path, labels)
    queries = read_foreign(query_path, query_labels) if query_path else gallery
    return assess_foreign(queries, gallery, metric, plan).to_json()


def _flatten(fields: dict[str, Any]) -> dict[str, object]:
    """A line a figure; what was not asked for is left out."""
    facts: dict[str, object] = {}
    for name, value in fields.items():
        if name == "recall":
            facts |= {f"recall@{k}": f"{share:.4f}" for k, share in value.items()}
        elif name == "cmc" and value:
            facts |= {f"cmc@{rank}": f"{share:.4f}" for rank, share in enumerate(value, start=1)}
        elif isinstance(value, dict):
            facts |= {f"{name} {inner}": one for inner, one in _flatten(value).items()}
        elif value is not None and not isinstance(value, tuple | list):
            facts[name] = f"{value:.4f}" if isinstance(value, float) else value
    return facts
