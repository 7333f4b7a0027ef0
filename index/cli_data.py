"""The commands about labelled data sets: `data prepare`.

Each function is one command. What may change here: wording. Not: names of commands, flags and JSON fields, which are
a contract.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from index.cli import JsonOption
from index.terminal import print_facts, print_json, progress_bar


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
