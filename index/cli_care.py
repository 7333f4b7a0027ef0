"""The index's commands that look after one: `index verify` and `index evaluate`.

Each function is one command: it reads arguments, calls the module that does the work, and prints. What may change
here: wording. Not: names of commands, flags and JSON fields, which are a contract.
"""

from __future__ import annotations

from typing import Annotated

import typer

from index.cli import IndexOption, JsonOption
from index.terminal import count_of, print_facts, print_json, print_listed

_SHOWN = 50  # findings listed for people; --json has them all


def verify_index(
    index: IndexOption,
    repair: Annotated[
        bool, typer.Option("--repair", help="Make again what is derived: snapshots, rows, thumbnails and the like.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Check every digest, the golden vectors, and the catalogue against rows, snapshot and pictures.

    Exit code 1 if a fault remains, 0 otherwise. A note is something harmless: what an interrupted write left, or a
    picture that its source no longer has.

    Examples:

        \b
        crossmatch index verify --index products.index
        crossmatch index verify --index products.index --repair --json
    """
    from index.layout import Layout
    from index.repair import repair_index
    from index.verification import verify_index as verify

    found = repair_index(Layout(index)) if repair else verify(Layout(index))
    remaining = sum(one.remains for one in found)
    if json:
        print_json({"index": str(index), "faults": remaining, "findings": [one.to_json() for one in found]})
    else:
        lines = [f"{'healed' if one.healed else one.kind:<6}  {one.where}: {one.what}" for one in found]
        print_listed(lines, _SHOWN, indent="")
        typer.echo(f"{index}: {_say_verdict(remaining, sum(one.healed for one in found))}")
    if remaining:
        raise typer.Exit(1)


def _say_verdict(remaining: int, healed: int) -> str:
    if remaining:
        return f"{count_of(remaining, 'fault')} {'remains' if remaining == 1 else 'remain'}"
    return "no fault remains" if healed else "no fault found"


def evaluate_index(
    index: IndexOption,
    queries: Annotated[int, typer.Option("--queries", help="Labelled pictures that ask, at most.", min=1)] = 5000,
    probes: Annotated[int, typer.Option("--probes", help="Searches compared with exact ones, at most.", min=1)] = 200,
    json: JsonOption = False,
) -> None:
    """Measure recall@k and MAP@R from the items' labels, leave-one-out, and searches against exact ones.

    Examples:

        \b
        crossmatch index evaluate --index products.index
        crossmatch index evaluate --index products.index --queries 1000 --json
    """
    from index.self_evaluation import EvaluationPlan
    from index.self_evaluation import evaluate_index as evaluate

    fields = evaluate(index, EvaluationPlan(queries, probes)).to_json()
    if json:
        print_json(fields)
        return
    recall, snapshot = fields.pop("recall") or {}, fields.pop("snapshot") or {}
    lines = {**fields, **{f"recall@{k}": value for k, value in recall.items()}}
    if snapshot:
        lines["recall@10 against exact search"] = snapshot["recall_at_10"]
        for name in ("search", "exact"):
            lines[f"{name}, ms"] = f"p50 {snapshot[name]['p50_ms']:.4f}, p99 {snapshot[name]['p99_ms']:.4f}"
    print_facts(lines)
