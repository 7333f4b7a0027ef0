"""The index's commands: `index build`, `index info`, `search`, `evaluate` and `model verify`.

Each function is one command: it reads arguments, calls the module that does the work, and prints. What may change
here: wording. Not: names of commands, flags and JSON fields, which are a contract.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from index.terminal import print_facts, print_json, print_note, progress_bar

if TYPE_CHECKING:  # the heavy modules are imported by the command that needs them, so that --help is quick
    from index.builder import BuildReport

IndexOption = Annotated[Path, typer.Option("--index", help="The index folder.", metavar="DIR", show_default=False)]
ModelOption = Annotated[Path, typer.Option("--model", help="A model bundle.", metavar="BUNDLE", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, for machines.")]
ThreadsOption = Annotated[int | None, typer.Option("--threads", min=1, help="Encoder threads; one a core by default.")]
_SHOWN = 20  # skipped files listed for people; --json has them all


def build(
    source: Annotated[Path, typer.Argument(help="A folder of pictures, or a CSV manifest.", show_default=False)],
    model: ModelOption,
    index: IndexOption,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Index a folder or a CSV manifest of pictures.

    From a folder, the key is the path below it and the label the folder below it. A CSV has the columns path, label
    and key; any others become metadata. A file that is no picture is skipped and reported. An interrupted build goes
    on where it was when the same command is given again.

    Examples:

        \b
        crossmatch index build ./products --model bundle --index products.index
        crossmatch index build catalogue.csv --model bundle --index products.index --json
    """
    from index.builder import build_index
    from index.bundle import read_bundle
    from index.sources import read_source

    bundle = read_bundle(model)
    try:
        with progress_bar("Indexing") as on_progress:
            report = build_index(read_source(source), bundle, index, threads=threads, on_progress=on_progress)
    except KeyboardInterrupt:
        print_note("What was indexed so far is kept and can be searched; the same command goes on from there.")
        raise
    if json:
        skipped = [{"key": skip.key, "reason": skip.reason} for skip in report.skipped]
        print_json({"index": str(index), "added": report.added, "kept": report.kept, "skipped": skipped})
    else:
        _print_report(report, index)


def _print_report(report: BuildReport, index: Path) -> None:
    kept = f", kept {report.kept} from before" if report.kept else ""
    typer.echo(f"{index}: added {report.added} pictures{kept}, skipped {len(report.skipped)}")
    for skip in report.skipped[:_SHOWN]:
        typer.echo(f"  skipped {skip.key}: {skip.reason}")
    if len(report.skipped) > _SHOWN:
        typer.echo(f"  ... and {len(report.skipped) - _SHOWN} more; --json lists them all")


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
        snapshot = searcher.snapshot()
        fields = {
            "generation": facts.generation,
            "model": facts.model,
            "size": facts.size,
            "recall": facts.recall,
            "embedding_size": searcher.generation.embedding_size,
            "recipe": snapshot.recipe if snapshot else None,
            "in_snapshot": snapshot.entries if snapshot else 0,
            "sources": [
                {"name": state.name, "listed": state.listed, "complete": state.complete} for state in searcher.sources()
            ],
        }
    if json:
        print_json(fields)
        return
    sources = fields.pop("sources")
    assert isinstance(sources, list)
    lines = [f"{state['name']} ({'complete' if state['complete'] else 'interrupted'})" for state in sources]
    print_facts({**fields, "sources": "; ".join(lines) or None})


def search(
    image: Annotated[Path, typer.Argument(help="A picture file.", show_default=False)],
    index: IndexOption,
    k: Annotated[int, typer.Option("-k", help="How many items to return.", min=1, max=1000)] = 10,
    json: JsonOption = False,
) -> None:
    """Find the items that look most like a picture.

    Examples:

        \b
        crossmatch search photo.jpg --index products.index -k 5
        crossmatch search photo.jpg --index products.index --json
    """
    import time

    from index.encoder import Encoder
    from index.errors import ImageError, VectorError
    from index.images import ImageLimits, read_bytes
    from index.searcher import Searcher, search_picture

    with Searcher(index) as searcher:
        encoder = Encoder(searcher.read_bundle())
        started = time.perf_counter()
        try:
            result = search_picture(searcher, encoder, read_bytes(image, ImageLimits()), k)
        except (ImageError, VectorError) as error:
            raise error.at(image) from error
        took_ms = (time.perf_counter() - started) * 1000
    if json:
        print_json(result.to_json(took_ms))
        return
    for place, match in enumerate(result.matches, start=1):
        typer.echo(f"{place:>4}  {match.score:.4f}  {match.item.label or '-'}  {match.item.key}")
    print_note(f"{len(result.matches)} of {result.index.size} items in {took_ms:.0f} ms")


def evaluate(
    model: ModelOption,
    data: Annotated[str, typer.Option("--data", help="grocery, folder or manifest.", show_default=False)],
    root: Annotated[Path, typer.Option("--root", help="The data set's folder, or the CSV.", show_default=False)],
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="For grocery: shelf, catalogue or self.", show_default=False)
    ] = None,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Measure recall@k, MAP@R and R-precision of a model on labelled pictures.

    Exact search; a query never finds itself, which is decided by its key. `folder`: one folder a class. `manifest`: a
    CSV with path and label, and a column split (query, gallery) where they are apart.

    Examples:

        \b
        crossmatch evaluate --model bundle --data grocery --root ../shared/data/grocery --protocol shelf
        crossmatch evaluate --model bundle --data folder --root ./photos --json
    """
    from index.assessment import assess
    from index.bundle import read_bundle
    from index.datasets import read_protocol

    bundle = read_bundle(model)
    pictures = read_protocol(data, root, protocol)
    with progress_bar("Encoding") as on_progress:
        assessment = assess(bundle, data, pictures, threads=threads, on_progress=on_progress)
    fields = assessment.to_json()
    if json:
        print_json(fields)
        return
    recall = fields.pop("recall")
    assert isinstance(recall, dict)
    print_facts({**fields, **{f"recall@{k}": f"{value:.4f}" for k, value in recall.items()}})


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
