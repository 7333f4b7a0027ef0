"""The commands about labelled data sets: `data prepare` and `data audit`.

Each function is one command. What may change here: wording. Not: names of commands, flags and JSON fields, which are
a contract.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from index.cli import JsonOption, ThreadsOption
from index.terminal import print_facts, print_json, progress_bar

if TYPE_CHECKING:
    from index.audit import Audit

_SHOWN = 50  # findings listed for people; --json has them all


def prepare_data(
    name: Annotated[str, typer.Argument(help="cub, cars, sop, inshop or grocery.", show_default=False)],
    root: Annotated[
        Path, typer.Option("--root", help="The data set's folder, made whole or not at all.", show_default=False)
    ],
    archive: Annotated[
        list[Path] | None,
        typer.Option("--archive", help="A file or folder that you have already; may be repeated.", show_default=False),
    ] = None,
    subset: Annotated[
        bool, typer.Option("--subset", help="Take fewer pictures and classes than the official ones.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Download a benchmark, or take your copy of it; check it, and lay it out for `train` and `evaluate`.

    A download that was cut off goes on where it was. Checksums are compared where they are known; what is unpacked is
    always counted, and every listed picture looked for. In-Shop is given on request alone: use --archive. Cars-196
    needs scipy once, here.

    Examples:

        \b
        crossmatch data prepare cub --root data/cub
        crossmatch data prepare cars --root data/cars --archive car_ims.tgz --archive cars_annos.mat
        crossmatch data prepare inshop --root data/inshop --archive "In-shop Clothes Retrieval Benchmark"
    """
    from index.datasets.origins import BENCHMARKS
    from index.errors import UsageError
    from index.preparation import Request, prepare

    if name not in BENCHMARKS:
        raise UsageError("no such benchmark", where=name, expected=" or ".join(BENCHMARKS))
    prepared = prepare(Request(BENCHMARKS[name], root, tuple(archive or ()), subset), progress_bar)
    fields = prepared.to_json()
    if json:
        print_json(fields)
        return
    files = fields.pop("files")
    print_facts({**fields, **{one["name"]: f"checksum {one['checksum']}" for one in files}})


def audit_data(
    name: Annotated[
        str, typer.Argument(help="cub, cars, sop, inshop, grocery, folder or manifest.", show_default=False)
    ],
    root: Annotated[Path, typer.Option("--root", help="The data set's folder, or the manifest.", show_default=False)],
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Look for copies across training and test pictures, classes too small, and files that are broken.

    Copies are found by bytes, by pixels, and by look, which re-encoding and resizing hardly change. Exit code 1
    if a copy lies across splits or a file is broken, 0 otherwise.

    Examples:

        \b
        crossmatch data audit cub --root data/cub
        crossmatch data audit manifest --root pictures.csv --json
    """
    from index.audit import audit

    with progress_bar("Reading pictures") as on_progress:
        found = audit(name, root, threads, on_progress)
    if json:
        print_json(found.to_json())
    else:
        _print_audit(found)
    if not found.is_clean:
        raise typer.Exit(1)


def _print_audit(found: Audit) -> None:
    """Counts, then a line for each finding, the worst first."""
    lines = [f"broken  {one.key}: {one.reason}" for one in found.broken]
    for one in sorted(found.copies, key=lambda copies: (not copies.is_leak, not copies.is_conflict)):
        what = "leak" if one.is_leak else "conflict" if one.is_conflict else "copies"
        places = (f"{split} {key}" for split, key in zip(one.splits, one.keys, strict=True))
        lines.append(f"{what}  {one.kind}: {', '.join(places)}")
    lines += [f"small  {one.split}: {one.pictures} of {one.label}" for one in found.small_classes]
    for line in lines[:_SHOWN]:
        typer.echo(line)
    if len(lines) > _SHOWN:
        typer.echo(f"... and {len(lines) - _SHOWN} more; --json lists them all")
    fields = found.to_json()
    print_facts(
        {
            **{f"{split} pictures": count for split, count in found.splits.items()},
            "leaks": fields["leaks"],
            "conflicts": fields["conflicts"],
            "broken": len(found.broken),
            "small classes": len(found.small_classes),
        }
    )
