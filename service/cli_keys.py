"""The commands `crossmatch key`: make, list and revoke what a service asks for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from service.access.scopes import Scope

IndexOption = Annotated[Path, typer.Option("--index", help="The index folder.", metavar="DIR", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]


def create(
    index: IndexOption,
    scope: Annotated[
        Scope, typer.Option("--scope", help="What it may do; write includes read, admin both.", show_default=False)
    ],
    name: Annotated[str | None, typer.Option("--name", help="For whom it is, for people.", show_default=False)] = None,
    days: Annotated[
        int | None,
        typer.Option("--days", min=1, max=36_500, help="Days until it expires; never by default.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it, once: the index keeps its SHA-256 alone. Running services know it at once.

    Examples:

        \b
        crossmatch key create --scope read --index products.index
        crossmatch key create --scope write --name importer --days 90 --index products.index
    """
    from index.layout import Layout
    from service.access.keys import create_key

    key, text = create_key(Layout(index), scope, name, days)
    if as_json:
        typer.echo(json.dumps({**key.to_json(), "key": text}, ensure_ascii=False))
        return
    typer.echo(text)
    typer.echo(f"Key {key.id} ({key.scope}). It is not shown again: keep it somewhere safe.", err=True)


def list_keys(index: IndexOption, as_json: JsonOption = False) -> None:
    """List the keys that there are: id, scope, when made, when they expire, name.

    Examples:

        \b
        crossmatch key list --index products.index
        crossmatch key list --index products.index --json
    """
    from index.layout import Layout
    from service.access.keys import read_index_keys

    keys = read_index_keys(Layout(index))
    if as_json:
        typer.echo(json.dumps({"keys": [key.to_json() for key in keys]}, ensure_ascii=False))
        return
    for key in keys:
        fields = (key.id, key.scope.ljust(5), key.created, (key.expires or "never").ljust(25), key.name or "")
        typer.echo("  ".join(fields).rstrip())
    if not keys:
        typer.echo("There are no keys; make one with `crossmatch key create`", err=True)


def revoke(
    key: Annotated[
        str, typer.Argument(metavar="ID", help="The id that `crossmatch key list` shows.", show_default=False)
    ],
    index: IndexOption,
    as_json: JsonOption = False,
) -> None:
    """Revoke a key: running services refuse it from the next request on.

    Examples:

        \b
        crossmatch key revoke 3f9a01c7 --index products.index
    """
    from index.layout import Layout
    from service.access.keys import revoke_key

    revoked = revoke_key(Layout(index), key)
    if as_json:
        typer.echo(json.dumps({"revoked": revoked.to_json()}, ensure_ascii=False))
        return
    typer.echo(f"Revoked {revoked.id} ({revoked.scope})")
