"""The command line: joins the three packages' commands and imports each only when it is asked for.

What may change here: the table of commands, as a package gains one. What a command does is in its package's `cli`.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import traceback
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, ClassVar, get_type_hints

import typer
from typer.core import TyperGroup

from index.errors import CrossmatchError

Table = dict[str, Any]  # name -> "module:function", or a group's own table

COMMANDS: Table = {
    "demo": "service.cli:demo",
    "model": {
        "export": "training.cli:export_model",
        "verify": "index.cli:verify_model",
        "calibrate": "training.cli:calibrate_model",
    },
    "data": {
        "prepare": "index.cli_data:prepare_data",
        "audit": "index.cli_data:audit_data",
    },
    "train": "training.cli:train",
    "evaluate": "index.cli_evaluation:evaluate",
    "index": {
        "build": "index.cli_writes:build",
        "add": "index.cli_writes:add",
        "update": "index.cli_writes:update",
        "remove": "index.cli_writes:remove",
        "list": "index.cli:list_items",
        "info": "index.cli:info",
        "verify": "index.cli_care:verify_index",
        "evaluate": "index.cli_care:evaluate_index",
        "compact": "index.cli_writes:compact",
        "rollback": "index.cli_writes:rollback",
        "export": "index.cli_exchange:export_index",
        "import": "index.cli_exchange:import_index",
        "backup": "index.cli_exchange:backup",
        "restore": "index.cli_exchange:restore",
    },
    "search": "index.cli:search",
    "embed": "index.cli_exchange:embed",
    "serve": "service.cli:serve",
    "key": {
        "create": "service.cli_keys:create",
        "list": "service.cli_keys:list_keys",
        "revoke": "service.cli_keys:revoke",
    },
}
_GROUPS = {
    "model": "Make a model bundle, or check one.",
    "data": "Labelled data sets, to train on and to evaluate with.",
    "index": "Build an index of pictures, write to it, and look into it.",
    "key": "Make, list and revoke the keys that a service asks for.",
}
_FROM_ENVIRONMENT = ("serve",)  # whose option `--a-b` may come as CROSSMATCH_A_B, as a container sets it
_OURS = ("index", "service", "training")
_STYLE: dict[str, Any] = {"add_completion": False, "pretty_exceptions_enable": False, "rich_markup_mode": None}


class LazyGroup(TyperGroup):
    """A group whose commands are imported when they are asked for."""

    table: ClassVar[Table] = {}

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """The names, in the table's order."""
        return list(self.table)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
        """Import a command, or None if there is none of that name."""
        entry = self.table.get(cmd_name)
        if entry is None:
            return None
        if isinstance(entry, dict):
            return typer.main.get_command(make_group(cmd_name, dict(entry), _GROUPS[cmd_name]))
        module, function = entry.split(":")
        single = typer.Typer(**_STYLE)
        context = {"auto_envvar_prefix": "CROSSMATCH"} if cmd_name in _FROM_ENVIRONMENT else None
        single.command(cmd_name, context_settings=context)(_let_us_read(getattr(import_module(module), function)))
        return typer.main.get_command(single)


def _let_us_read(function: Any) -> Any:
    """The command without Typer's own check of paths: one that can not be read has failed (1), as a missing one has."""
    hints = get_type_hints(function, include_extras=True)
    for hint in hints.values():
        for said in getattr(hint, "__metadata__", ()):
            if hasattr(said, "readable"):
                said.readable = False
    function.__annotations__ = hints  # else Typer would read the words anew
    return function


def make_group(name: str, table: Table, text: str) -> typer.Typer:
    """A group over a table of commands."""
    cls = type(f"{name.title()}Group", (LazyGroup,), {"table": table})
    group = typer.Typer(cls=cls, name=name, help=text, no_args_is_help=True, **_STYLE)
    group.callback()(lambda: None)
    return group


def make_command() -> Any:
    """The whole command line, as a Click command."""
    text = "Image similarity search with embeddings trained by plain cross-entropy."
    group = make_group("crossmatch", COMMANDS, text)

    @group.callback(help=text, epilog="Start with `crossmatch demo`. Every command has --help with examples.")
    def options(
        _version: Annotated[
            bool, typer.Option("--version", help="Say the version.", callback=_show_version, is_eager=True)
        ] = False,
    ) -> None:
        pass

    return typer.main.get_command(group)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"crossmatch {version('crossmatch')}")
        raise typer.Exit


def run(arguments: list[str]) -> int:
    """Run a command; the exit code: 0, 1 (failed), 2 (called wrongly), 3 (refused by the gate), 130 (interrupted)."""
    try:
        result = make_command()(arguments, prog_name="crossmatch", standalone_mode=False)
    except CrossmatchError as error:
        return _fail(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", 130)
    except (OSError, shutil.Error, sqlite3.Error) as error:  # a full disk, a folder that may not be written
        return _fail(_explain_machine(error), 1)
    except Exception as error:
        if hasattr(error, "format_message"):  # Typer's own: a wrong option or argument
            return _fail_usage(error)
        return _fail(*_explain_unexpected(error))
    return result if isinstance(result, int) else 0


def _fail_usage(error: Any) -> int:
    """A wrong call, or a group without a command, whose message is the group's help."""
    message = error.format_message().replace("Value error, ", "")  # the prefix of a library below Typer
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(message, err=True)
    else:
        path = error.ctx.command_path if error.ctx else "crossmatch"
        _fail(f"{message.rstrip('.')}; see `{path} --help`", error.exit_code)
    return int(error.exit_code)


def _explain_unexpected(error: Exception) -> tuple[str, int]:
    """A package that this installation lacks, as an image that only serves does; or a bug: still one line."""
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.split(".")[0] not in _OURS:
        remedy = "run it where everything is (`make install`, or the image crossmatch-training)"
        return f"this needs the package {error.name}, which is not installed here; {remedy}", 2
    return f"unexpected {type(error).__name__}: {error}; set CROSSMATCH_DEBUG=1 to see where", 1


def _explain_machine(error: Exception) -> str:
    """What the operating system refused, and where."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        _, where, reason = error.args[0][0]  # of a folder that was being copied, the first file that failed
        return f"{where}: can not be written (found {reason}); check the room and the permissions there"
    if isinstance(error, OSError) and error.strerror:
        where = error.filename2 or error.filename or "the file system"
        return f"{where}: {error.strerror.lower()}; check the path, its permissions and the room there"
    return str(error)


def _fail(line: str, code: int) -> int:
    if os.environ.get("CROSSMATCH_DEBUG"):
        traceback.print_exc()
    typer.echo(f"crossmatch: {' '.join(line.split())}", err=True)  # other libraries' messages may have many lines
    return code


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
