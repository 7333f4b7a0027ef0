"""The index's commands for what goes in and out whole: `index export`, `import`, `backup`, `restore`, and `embed`.

Each function is one command: it reads arguments, calls the module that does the work, and prints. What may change
here: wording. Not: names of commands, flags and JSON fields, which are a contract.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from index.cli import IndexOption, JsonOption, ModelOption, ThreadsOption
from index.terminal import print_json, print_listed, print_result, progress_bar

_FILE = "A new .parquet file, or a .npy file that gets a .jsonl file beside it."


def export_index(
    output: Annotated[Path, typer.Argument(metavar="DEST", help=_FILE, show_default=False)],
    index: IndexOption,
    json: JsonOption = False,
) -> None:
    """Write out every item: key, label, metadata and vector, as one moment left them.

    Parquet has the columns key, label, metadata (JSON), content_hash and vector; it needs the extra `parquet`.

    Examples:

        \b
        crossmatch index export products.parquet --index products.index
        crossmatch index export products.npy --index products.index --json
    """
    from index.catalog import Catalog
    from index.exchange import export_items
    from index.layout import Layout

    layout = Layout(index)
    with Catalog(layout.catalog) as catalog, progress_bar("Exporting") as on_progress:
        report = export_items(layout, catalog, output, on_progress)
    fields = {"output": str(output), "items": report.items, "model": report.model}
    line = f"{output}: {report.items} items, vectors of model {report.model[:12]}..."
    print_result(line, {**fields, "change_number": report.change_number}, json=json)


def import_index(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A .parquet file, or a .npy file.", show_default=False)],
    index: IndexOption,
    model: Annotated[
        Path | None,
        typer.Option("--model", help="Where there is no index yet: the bundle it is for.", show_default=False),
    ] = None,
    assume_model: Annotated[
        bool, typer.Option("--assume-model", help="SRC names no model; its vectors are of the index's.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace other content under a key that is there.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Take in items with their vectors, without their pictures.

    A file has the columns (npy: lines of JSON) key and vector, and may have label, metadata and content_hash; others
    become metadata. It is checked whole before anything is written: sizes, finite values, length 1, keys, the model.
    Another model can not encode these items until their pictures are added.

    Examples:

        \b
        crossmatch index import products.parquet --index products.index
        crossmatch index import vectors.npy --index new.index --model bundle
    """
    from index.bundle import read_bundle
    from index.catalog_writer import CatalogWriter
    from index.creation import create_index
    from index.exchange import ImportPlan, VectorKind, check_vectors, import_vectors
    from index.layout import Layout

    layout, plan = Layout(index), ImportPlan(assume_model, replace)
    if model is not None and not layout.is_index():
        bundle = read_bundle(model)
        check_vectors(source, VectorKind(bundle.manifest.model_id, bundle.manifest.embedding_size), plan)
        create_index(layout, bundle)
    with CatalogWriter(layout.catalog) as catalog, progress_bar("Importing") as on_progress:
        report = import_vectors(layout, catalog, source, plan, on_progress)
    counts = {"added": report.added, "replaced": report.replaced, "kept": report.kept}
    if json:
        print_json({"index": str(index), **counts, "taken": list(report.taken)})
        return
    said = ", ".join(f"{name} {count}" for name, count in counts.items())
    typer.echo(f"{index}: {said}, left alone {len(report.taken)}")
    print_listed([f"left alone {key}: the key is there with other content" for key in report.taken])


def embed(
    source: Annotated[Path, typer.Argument(help="A folder of pictures, or a manifest.", show_default=False)],
    model: ModelOption,
    output: Annotated[Path, typer.Option("--output", metavar="DEST", help=_FILE, show_default=False)],
    images_root: Annotated[
        Path | None,
        typer.Option("--images-root", help="Where the pictures of SOURCE lie now.", metavar="DIR", show_default=False),
    ] = None,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Turn pictures into vectors in a file, without an index. A file that is no picture is skipped and reported.

    Examples:

        \b
        crossmatch embed ./products --model bundle --output vectors.parquet
        crossmatch embed catalogue.csv --model bundle --output vectors.npy --json
    """
    from index.bundle import read_bundle
    from index.embedding import embed_source
    from index.encoder_pool import EncoderPool
    from index.sources import read_source

    listed, pool = read_source(source, images_root), EncoderPool(read_bundle(model), threads)
    with progress_bar("Encoding") as on_progress:
        report = embed_source(listed, pool, output, on_progress)
    if json:
        skipped = [{"key": skip.key, "reason": skip.reason} for skip in report.skipped]
        print_json({"output": str(output), "embedded": report.embedded, "skipped": skipped})
        return
    typer.echo(f"{output}: {report.embedded} vectors, skipped {len(report.skipped)}")
    print_listed([f"skipped {skip.key}: {skip.reason}" for skip in report.skipped])


def backup(
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="A new folder.", show_default=False)],
    index: IndexOption,
    json: JsonOption = False,
) -> None:
    """Copy an index, which may be searched and written to meanwhile, with the SHA-256 of every file.

    DEST holds what one moment left: restored, it answers exactly as the index did then. Pictures in the folder of a
    source that the index keeps in step with are not in it.

    Examples:

        \b
        crossmatch index backup /backups/products-monday --index products.index
    """
    from index.backup import back_up
    from index.catalog import Catalog
    from index.layout import Layout

    layout = Layout(index)
    with Catalog(layout.catalog) as catalog, progress_bar("Copying") as on_progress:
        report = back_up(layout, catalog, destination, on_progress)
    if json:
        fields = {"backup": str(destination), "change_number": report.change_number, "items": report.items}
        fields |= {"files": report.files, "bytes": report.bytes, "without_picture": report.without_picture}
        print_json({**fields, "damaged": list(report.damaged)})
        return
    typer.echo(f"{destination}: {report.items} items, {report.files} files, {report.bytes} bytes")
    print_listed([f"left out the picture of {key}: it is not the one that was added" for key in report.damaged])


def restore(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A folder that `backup` made.", show_default=False)],
    index: IndexOption,
    json: JsonOption = False,
) -> None:
    """Make an index from a backup, in a new or empty folder. Every file's SHA-256 is checked first.

    Examples:

        \b
        crossmatch index restore /backups/products-monday --index products.index
    """
    from index.layout import Layout
    from index.restore import restore as restore_index

    with progress_bar("Checking and copying") as on_progress:
        report = restore_index(source, Layout(index), on_progress)
    fields = {"index": str(index), "change_number": report.change_number, "created": report.created}
    line = f"{index}: {report.items} items, as backed up at {report.created}"
    print_result(line, {**fields, "items": report.items, "files": report.files}, json=json)
