"""The index's commands that write: `index build`, `add`, `update`, `remove`, `compact` and `rollback`.

Each function is one command: it reads arguments, calls the module that does the work, and prints. What may change
here: wording. Not: names of commands, flags and JSON fields, which are a contract.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from index.cli import IndexOption, JsonOption, ModelOption, ThreadsOption
from index.terminal import print_json, print_listed, print_note, print_result, progress_bar

if TYPE_CHECKING:  # the heavy modules are imported by the command that needs them, so that --help is quick
    from index.encoding import SkippedPicture

SourceArgument = Annotated[
    Path, typer.Argument(help="A folder of pictures, a manifest, or one picture.", show_default=False)
]
RootOption = Annotated[
    Path | None,
    typer.Option("--images-root", help="Where the pictures of SOURCE lie now.", metavar="DIR", show_default=False),
]
DropOption = Annotated[
    bool, typer.Option("--drop-missing", help="Remove items whose pictures are gone, instead of stopping.")
]
KeepOption = Annotated[int, typer.Option("--keep", help="Earlier generations to keep.", min=0)]


def build(
    source: SourceArgument,
    model: ModelOption,
    index: IndexOption,
    update: Annotated[
        bool, typer.Option("--update", help="Bring an index that is there into step with SOURCE.")
    ] = False,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", help="flat, hnsw or a FAISS factory string; flat at first.", show_default=False),
    ] = None,
    images_root: RootOption = None,
    drop_missing: DropOption = False,
    keep: KeepOption = 1,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Index a folder or a manifest of pictures.

    From a folder, the key is the path below it and the label the folder below it. A manifest (CSV, JSONL or Parquet)
    has the columns path, label and key; any others become metadata. A file that is no picture is skipped and reported.
    An interrupted build goes on where it was when the same command is given again.

    --update encodes only new or changed files, keeps the items of files that moved, and removes the items of files
    that vanished, if SOURCE brought them. Another --model encodes every item again beside the old generation, which
    answers until the new one is whole. A calibration or an evaluation that the model's bundle got since is taken over.

    Examples:

        \b
        crossmatch index build ./products --model bundle --index products.index
        crossmatch index build ./products --model bundle --index products.index --update
        crossmatch index build ./products --model better-bundle --index products.index
        crossmatch index build catalogue.csv --model bundle --index products.index --recipe hnsw --json
    """
    from index.builder import BuildPlan, build_index
    from index.bundle import read_bundle
    from index.sources import read_source

    bundle = read_bundle(model)
    plan = BuildPlan(threads, recipe=recipe, update=update, drop_missing=drop_missing, keep=keep)
    with _keeping_work(), progress_bar("Indexing") as on_progress:
        report = build_index(read_source(source, images_root), bundle, index, plan, on_progress)
    if report.swapped is not None:
        _print_swap(report.swapped.generation, report.swapped.encoded, report.swapped.dropped, index, json)
    elif (done := report.synchronised) is not None:
        counts = {"added": done.added, "replaced": done.replaced, "moved": done.moved, "edited": done.edited}
        counts |= {"removed": done.removed, "kept": done.kept}
        _print_counts(counts, done.skipped, index, json, report.adopted)


@contextmanager
def _keeping_work() -> Iterator[None]:
    """Say what an interruption costs: nothing but time."""
    try:
        yield
    except KeyboardInterrupt:
        print_note("What was indexed so far is kept; the same command goes on from there.")
        raise


def _print_counts(
    counts: dict[str, int],
    skipped: Sequence[SkippedPicture],
    index: Path,
    json: bool,
    adopted: Sequence[str] | None = None,
) -> None:
    if json:
        listed = [{"key": skip.key, "reason": skip.reason} for skip in skipped]
        of_build = {} if adopted is None else {"adopted": list(adopted)}
        print_json({"index": str(index), **counts, "skipped": listed, **of_build})
        return
    said = [f"{name} {count}" for name, count in counts.items() if count or name == "added"]
    typer.echo(f"{index}: {', '.join(said)}, skipped {len(skipped)}")
    if adopted:
        typer.echo(f"{index}: the bundle's {' and '.join(adopted)} taken over")
    print_listed([f"skipped {skip.key}: {skip.reason}" for skip in skipped])


def _print_swap(generation: str, encoded: int, dropped: Sequence[str], index: Path, json: bool) -> None:
    if json:
        print_json({"index": str(index), "generation": generation, "encoded": encoded, "dropped": list(dropped)})
        return
    typer.echo(f"{index}: generation {generation} answers now, {encoded} pictures encoded")
    print_listed([f"removed {key}: its picture is gone" for key in dropped])


def add(
    source: SourceArgument,
    index: IndexOption,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace other content under a key that is there.")
    ] = False,
    images_root: RootOption = None,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Add pictures to an index, with keys and labels as `build` makes them.

    The pictures are copied into the index, which does not keep in step with SOURCE afterwards. The same content under
    a key that is there is left alone; other content is skipped, or replaced where --replace says so.

    Examples:

        \b
        crossmatch index add ./new-arrivals --index products.index
        crossmatch index add tomato.jpg --index products.index
        crossmatch index add ./retouched --index products.index --replace --json
    """
    from index.additions import IndexEditor
    from index.catalog_writer import CatalogWriter
    from index.layout import Layout
    from index.sources import read_source

    pictures = read_source(source, images_root).pictures
    layout = Layout(index)
    with CatalogWriter(layout.catalog) as catalog, progress_bar("Adding") as on_progress:
        report = IndexEditor(layout, catalog, threads).add(pictures, overwrite=replace, on_progress=on_progress)
    counts = {"added": report.added, "replaced": report.replaced, "kept": report.kept}
    _print_counts(counts, report.skipped, index, json)


def update(
    key: Annotated[str, typer.Argument(help="The item's key.", show_default=False)],
    index: IndexOption,
    image: Annotated[Path | None, typer.Option("--image", help="Another picture.", show_default=False)] = None,
    label: Annotated[
        str | None, typer.Option("--label", help="Another label; an empty one for none.", show_default=False)
    ] = None,
    metadata: Annotated[
        str | None, typer.Option("--metadata", help="Other metadata: a JSON object.", show_default=False)
    ] = None,
    json: JsonOption = False,
) -> None:
    """Give an item another picture, label or metadata; what is not named stays. The id stays, the version counts up.

    Examples:

        \b
        crossmatch index update Tomato/1.jpg --label Tomato/Beef --index products.index
        crossmatch index update Tomato/1.jpg --image retouched.jpg --index products.index
    """
    from index.additions import IndexEditor, ItemPatch
    from index.catalog_writer import CatalogWriter
    from index.errors import ImageError, UsageError
    from index.images import ImageLimits, read_bytes
    from index.layout import Layout
    from index.manifests import check_text

    check_text("KEY and --label", [key, label])
    if image is None and label is None and metadata is None:
        raise UsageError("nothing to change", where=key, expected="--image, --label or --metadata")
    patch = ItemPatch(
        image=read_bytes(image, ImageLimits()) if image else None,
        label=... if label is None else label or None,
        metadata=... if metadata is None else _read_metadata(metadata),
    )
    layout = Layout(index)
    with CatalogWriter(layout.catalog) as catalog:
        try:
            item = IndexEditor(layout, catalog, threads=1).update(key, patch)
        except ImageError as error:
            raise error.at(image) from error
    fields = {"id": item.id, "key": item.key, "label": item.label, "metadata": item.metadata, "version": item.version}
    print_result(f"{index}: {item.key} is at version {item.version}", fields, json=json)


def _read_metadata(text: str) -> dict[str, Any]:
    from index.manifests import check_text, parse_object

    metadata = parse_object("--metadata", text)
    check_text("--metadata", metadata)
    return metadata


def remove(
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="Keys of items.", show_default=False)],
    index: IndexOption,
    json: JsonOption = False,
) -> None:
    """Remove items by their keys: all of them, or none if one is not there.

    Examples:

        \b
        crossmatch index remove Tomato/1.jpg Tomato/2.jpg --index products.index
    """
    from index.additions import IndexEditor
    from index.catalog_writer import CatalogWriter
    from index.layout import Layout

    layout = Layout(index)
    with CatalogWriter(layout.catalog) as catalog:
        IndexEditor(layout, catalog).remove(keys)
    fields = {"index": str(index), "removed": len(set(keys))}
    print_result(f"{index}: removed {len(set(keys))}", fields, json=json)


def compact(
    index: IndexOption,
    recipe: Annotated[
        str | None, typer.Option("--recipe", help="Build the snapshot with another recipe.", show_default=False)
    ] = None,
    keep: KeepOption = 1,
    json: JsonOption = False,
) -> None:
    """Seal what was written since the last snapshot into a new one, and give back the room of what is gone.

    Searches and writes go on meanwhile. A service seals by itself when enough has changed, and gives back no room.

    Examples:

        \b
        crossmatch index compact --index products.index
        crossmatch index compact --index products.index --recipe hnsw
    """
    from index.catalog_writer import CatalogWriter
    from index.compaction import compact_index
    from index.layout import Layout

    layout = Layout(index)
    with CatalogWriter(layout.catalog) as catalog:
        report = compact_index(layout, catalog, recipe=recipe, keep=keep)
    line = f"{index}: {report.pictures} pictures sealed, recall {report.recall}, {report.freed} bytes freed"
    print_result(line, {"index": str(index), **report.to_json()}, json=json)


def rollback(
    index: IndexOption,
    to: Annotated[
        str | None, typer.Option("--to", help="The generation's name; the last before this one.", show_default=False)
    ] = None,
    images_root: RootOption = None,
    drop_missing: DropOption = False,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Answer from an earlier generation again; every later write and deletion stays.

    Examples:

        \b
        crossmatch index rollback --index products.index
        crossmatch index rollback --to 0001-16b61a96 --index products.index
    """
    from index.catalog_writer import CatalogWriter
    from index.creation import building
    from index.generations import EncodingPlan, roll_back
    from index.layout import Layout
    from index.relocation import find_only_source, relocate

    layout = Layout(index)
    with CatalogWriter(layout.catalog) as catalog, building(layout), progress_bar("Encoding") as on_progress:
        moved = None if images_root is None else relocate(catalog, find_only_source(catalog), images_root)
        plan = EncodingPlan(threads, drop_missing=drop_missing, relocation=moved)
        report = roll_back(layout, catalog, to, plan, on_progress)
    _print_swap(report.generation, report.encoded, report.dropped, index, json)
