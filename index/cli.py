"""The index's commands that only read: `index info`, `index list`, `search` and `model verify`.

Each function is one command: it reads arguments, calls the module that does the work, and prints. What may change
here: wording. Not: names of commands, flags and JSON fields, which are a contract.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from index.terminal import print_facts, print_json, print_note

if TYPE_CHECKING:
    from index.searcher import Searcher

IndexOption = Annotated[Path, typer.Option("--index", help="The index folder.", metavar="DIR", show_default=False)]
ModelOption = Annotated[Path, typer.Option("--model", help="A model bundle.", metavar="BUNDLE", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, for machines.")]
ThreadsOption = Annotated[int | None, typer.Option("--threads", min=1, help="Encoder threads; one a core by default.")]


def info(index: IndexOption, json: JsonOption = False) -> None:
    """Say what an index holds: a line a fact.

    Examples:

        \b
        crossmatch index info --index products.index
        crossmatch index info --index products.index --json
    """
    from index.searcher import Searcher

    with Searcher(index) as searcher:
        facts = searcher.info()
        generation, snapshot = searcher.generation, searcher.snapshot()
        unsealed, removed = searcher.unsealed()
        earlier = [one.name for one in searcher.earlier_generations()]
        sources = [{"name": one.name, "listed": one.listed, "complete": one.complete} for one in searcher.sources()]
    fields = {
        "generation": facts.generation,
        "model": facts.model,
        "size": facts.size,
        "recall": facts.recall,
        "embedding_size": generation.embedding_size,
        "recipe": generation.recipe,
        "in_snapshot": snapshot.pictures if snapshot else 0,
        "distinct_in_snapshot": snapshot.entries if snapshot else 0,
        "unsealed": unsealed,
        "removed_unsealed": removed,
    }
    if json:
        print_json({**fields, "earlier": earlier, "sources": sources})
        return
    lines = [f"{one['name']} ({'complete' if one['complete'] else 'interrupted'})" for one in sources]
    print_facts({**fields, "earlier": "; ".join(earlier) or None, "sources": "; ".join(lines) or None})


def list_items(
    index: IndexOption,
    after: Annotated[int, typer.Option("--after", help="Only items with an id above this.", min=0)] = 0,
    limit: Annotated[int | None, typer.Option("--limit", help="At most so many.", min=1)] = None,
    json: JsonOption = False,
) -> None:
    """List the items: id, label and key, or a JSON object a line.

    Examples:

        \b
        crossmatch index list --index products.index --limit 20
        crossmatch index list --index products.index --json > items.jsonl
    """
    from index.searcher import Searcher

    with Searcher(index) as searcher:
        for item in searcher.iterate_items(after, limit):
            if json:
                print_json({"id": item.id, "key": item.key, "label": item.label, "metadata": item.metadata})
            else:
                typer.echo(f"{item.id:>8}  {item.label or '-'}  {item.key}")


def search(
    index: IndexOption,
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="IMAGE...", help="A picture file; several are views of one thing.", show_default=False),
    ] = None,
    keys: Annotated[
        list[str] | None,
        typer.Option("--key", help="Search by an item that is there, itself left out; repeatable.", show_default=False),
    ] = None,
    negative: Annotated[
        list[Path] | None,
        typer.Option("--negative", help="A picture that results should not look like; repeatable.", show_default=False),
    ] = None,
    negative_keys: Annotated[
        list[str] | None,
        typer.Option("--negative-key", help="An item that results should not look like.", show_default=False),
    ] = None,
    strategy: Annotated[
        str, typer.Option("--strategy", help="How several pictures are put together: average or best.")
    ] = "average",
    crop: Annotated[
        str | None,
        typer.Option("--crop", help="Search by this part of the one picture: x,y,w,h in pixels.", show_default=False),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="How many items to return.", min=1, max=1000)] = 10,
    min_score: Annotated[
        float | None,
        typer.Option("--min-score", help="Leave out items below this cosine.", min=-1, max=1, show_default=False),
    ] = None,
    min_probability: Annotated[
        float | None,
        typer.Option(
            "--min-probability",
            help="Leave out less probable items; needs a calibration.",
            min=0,
            max=1,
            show_default=False,
        ),
    ] = None,
    cursor: Annotated[
        str | None, typer.Option("--cursor", help="Go on after a page: its next_cursor.", show_default=False)
    ] = None,
    json: JsonOption = False,
) -> None:
    """Find the items that look most like a picture, like several views of one thing, or like an item.

    A line an item: place, cosine, label and key; where the index is calibrated, p is how likely the class is the same.

    Examples:

        \b
        crossmatch search photo.jpg --index products.index -k 5
        crossmatch search front.jpg back.jpg --index products.index --json
        crossmatch search --key Tomato/1.jpg --index products.index --min-score 0.8
        crossmatch search shirt.jpg --negative striped.jpg --crop 40,0,300,400 --index products.index
    """
    import time

    from index.crops import parse_crop
    from index.encoder import Encoder
    from index.errors import UsageError
    from index.queries import Bounds, Page, Query, parse_strategy
    from index.searcher import Searcher

    if not (images or keys):
        raise UsageError("nothing to search by", expected="picture files, or --key", found="neither")
    part = parse_crop(crop) if crop is not None else None
    if part is not None and len(images or []) != 1:
        raise UsageError("a crop is of one picture", expected="one picture file", found=len(images or []))
    with Searcher(index) as searcher:
        positive_ids, negative_ids = (tuple(_find_ids(searcher, each or [])) for each in (keys, negative_keys))
        encoder = Encoder(searcher.read_bundle()) if images or negative else None
        started = time.perf_counter()
        query = Query(positive_ids=positive_ids, negative_ids=negative_ids, strategy=parse_strategy(strategy))
        if encoder is not None:
            query = replace(
                query,
                positives=tuple(encoder.encode_file(image, part) for image in images or []),
                negatives=tuple(encoder.encode_file(image) for image in negative or []),
                model=encoder.bundle.manifest.model_id,
            )
        result = searcher.ask(query, Page(k, cursor), Bounds(min_score, min_probability=min_probability))
        took_ms = (time.perf_counter() - started) * 1000
    if json:
        print_json(result.to_json(took_ms))
        return
    for place, match in enumerate(result.matches, start=1):
        likely = "" if match.probability is None else f"p {match.probability:.4f}  "
        typer.echo(f"{place:>4}  {match.score:.4f}  {likely}{match.item.label or '-'}  {match.item.key}")
    print_note(f"{len(result.matches)} of {result.index.size} items in {took_ms:.0f} ms")


def _find_ids(searcher: Searcher, keys: list[str]) -> Iterator[int]:
    """The ids of items. Raises ItemNotFoundError with the first key that is not there."""
    from index.errors import ItemNotFoundError

    for key in keys:
        item = searcher.find_item(key)
        if item is None:
            where = searcher.layout.folder
            raise ItemNotFoundError("no such item", where=where, expected="the key of an item", found=repr(key))
        yield item.id


def verify_model(
    bundle: Annotated[Path, typer.Argument(help="A model bundle.", show_default=False)], json: JsonOption = False
) -> None:
    """Check a model bundle: format, digests, and its golden pictures encoded again (cosine at least 0.9999).

    Examples:

        \b
        crossmatch model verify bundle
    """
    from index.bundle import describe_bundle, read_bundle
    from index.encoder import Encoder, verify_golden

    opened = read_bundle(bundle)
    lowest = verify_golden(Encoder(opened))
    fields = {**describe_bundle(opened), "golden_cosine": lowest}
    if json:
        print_json(fields)
    else:
        print_facts({**fields, "golden_cosine": f"{lowest:.6f}", "verdict": "whole, and runs as it did"})
