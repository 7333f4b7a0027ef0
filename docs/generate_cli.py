"""Write `docs/cli.md` from the commands' own help; with --check, fail if it is not what they say now."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("cli.md")
HEAD = """# The command line

Generated from the commands' `--help` by `make docs`; `make check` fails when it is out of date.

Every command prints errors as one line on standard error. Exit codes: 0; 1, it failed (a picture, a model or an index
that is not there or not whole, a full disk); 2, it was called wrongly (options, a source that is none, an index that
is in the way); 3, refused by the gate; 130, interrupted; 143, ended by SIGTERM.
"""


def write_help(command: Any, path: str) -> list[str]:
    """A section for a command, and one for each below it."""
    import typer

    context = typer.Context(command, info_name=path, terminal_width=100, max_content_width=100)
    lines = [f"## {path}", "", "```", command.get_help(context).rstrip(), "```", ""]
    for name in getattr(command, "list_commands", lambda _: [])(context):
        lines += write_help(command.get_command(context, name), f"{path} {name}")
    return lines


def main() -> int:
    """The page, written or checked."""
    os.environ.update(COLUMNS="100", NO_COLOR="1", TERM="dumb")
    from crossmatch import make_command

    page = "\n".join([HEAD, *write_help(make_command(), "crossmatch")])
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    if PAGE.read_text(encoding="utf-8") == page:
        return 0
    sys.stderr.write(f"{PAGE}: not what the commands' --help says; run `make docs`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
