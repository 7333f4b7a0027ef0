"""The documents against the repository: links, commands, files and modules that they name are there."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from crossmatch import COMMANDS, make_command
from tests.documents import (
    ROOT,
    anchors,
    code_blocks,
    links,
    list_documents,
    read_document,
    sections,
    table_names,
    without_code,
)

DOCUMENTS = list_documents()
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
PACKAGES = ("index", "service", "training")


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    for link in links(path.read_text(encoding="utf-8")):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", target):
            continue  # another host's
        file = path.parent / target if target else path
        assert file.exists(), f"{link}: no such file"
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), f"{link}: no such heading"


def test_every_document_that_the_code_names_is_there() -> None:
    files = [*(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")), *ROOT.glob("configs/*")]
    named = {name for file in files for name in re.findall(r"docs/[\w/-]+\.md", file.read_text(encoding="utf-8"))}
    assert "docs/artifacts.md" in named
    assert not [name for name in named if not (ROOT / name).is_file()]
    numbers = {number for file in files for number in re.findall(r"docs/decisions/(\d{4})", file.read_text("utf-8"))}
    assert not [number for number in numbers if not list((ROOT / "docs/decisions").glob(f"{number}-*.md"))]


def named_commands(text: str) -> Iterator[str]:
    """Each line or piece of code that begins with `crossmatch`, comments taken off."""
    lines = [line.strip().removeprefix("$ ") for block in code_blocks(text) for line in block.splitlines()]
    lines += re.findall(r"`(crossmatch [^`]+)`", without_code(text))
    for line in lines:
        command = re.split(r"\s{2,}|\s#|\s[|&>]", line.removeprefix(".venv/bin/"))[0].rstrip("\\ ")
        if command.startswith("crossmatch "):
            yield command


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words name, and the words after its name. Raises KeyError where there is none."""
    table: Any = COMMANDS
    command, path = make_command(), list(words)
    while isinstance(table, dict) and path and not path[0].startswith("-"):
        table = table[path[0]]
        command = command.get_command(None, path.pop(0))
    return command, path


def check_command(line: str) -> None:
    command, arguments = find_command(shlex.split(line)[1:])
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    options = [word.strip("[]").partition("=")[0] for word in arguments if word.strip("[").startswith("-")]
    assert not set(options) - known - {"--help"}, line


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_no_document_names_a_command_or_option_that_does_not_exist(path: Path) -> None:
    for line in named_commands(path.read_text(encoding="utf-8")):
        try:
            check_command(line)
        except KeyError as error:
            pytest.fail(f"{line}: no command {error}")


@pytest.mark.parametrize("line", ["crossmatch retrain CONFIG.yaml", "crossmatch index sweep --index x"])
def test_a_command_of_a_later_issue_would_be_found(line: str) -> None:
    [found] = named_commands(f"```sh\n{line}\n```")
    with pytest.raises(KeyError):
        check_command(found)


def test_an_option_that_does_not_exist_would_be_found() -> None:
    [found] = named_commands("Say `crossmatch search a.jpg --index x --fastest`.")
    with pytest.raises(AssertionError, match="fastest"):
        check_command(found)


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for path in DOCUMENTS:
        named = re.findall(r"(?:^|`)make ([a-z]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(named) <= targets, path


# Architecture


def read_tiers() -> list[list[str]]:
    """The modules of `index/` as the architecture's table has them, lowest tier first."""
    text = sections(read_document("docs/architecture.md"))["Three packages and their arrows"]
    rows = [line.split("|")[2] for line in text.splitlines() if line.startswith("| ")][1:]
    return [[name.rstrip("/") for name in re.findall(r"`([^`]+)`", row)] for row in rows]


def read_imports() -> list[tuple[str, str]]:
    """(module, module of `index/` that it imports), for all of our modules; a folder counts as one module."""
    found = []
    for path in [ROOT / "crossmatch.py", *(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))]:
        parts = path.relative_to(ROOT).with_suffix("").parts
        module = parts[1] if parts[0] == "index" else "elsewhere"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("index."):
                found.append((module, str(node.module).split(".")[1]))
    return found


def test_the_tiers_name_every_module_of_index_once_and_each_is_used() -> None:
    folder = ROOT / "index"
    there = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    named = [name for tier in read_tiers() for name in tier]
    assert sorted(named) == sorted(there - {"__init__"})
    commands = {name for name in named if name.startswith("cli")}  # which `crossmatch.py` names as text
    assert not set(named) - commands - {imported for module, imported in read_imports() if module != imported}


def test_the_layers_that_ci_checks_are_the_tiers() -> None:
    contracts = tomllib.loads(read_document("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    assert [set(layer.split(" : ")) for layer in reversed(layers)] == [set(tier) for tier in read_tiers()]


def test_no_module_of_index_imports_from_a_higher_tier() -> None:
    tiers = {name: number for number, tier in enumerate(read_tiers()) for name in tier}
    wrong = [pair for pair in read_imports() if pair[0] in tiers and tiers[pair[1]] > tiers[pair[0]]]
    assert not wrong


def test_the_map_names_folders_and_modules_that_are_there() -> None:
    text = sections(read_document("docs/architecture.md"))["What is where"]
    folders = table_names(text)
    assert {f"{name}/" for name in (*PACKAGES, "configs", "benchmarks", "tests", "docs", "docker")} <= set(folders)
    assert not [name for name in folders if not (ROOT / name).exists()]
    about = re.findall(r"^\| [^|]+ \| (.+) \|$", text[text.index("| about |") :], re.MULTILINE)[1:]
    modules = {path.stem for path in (ROOT / "index").glob("*.py")} | {"schema.sql"}
    modules |= {f"{path.parent.name}/" for path in (ROOT / "index").glob("*/__init__.py")}
    named = {name for row in about for name in re.findall(r"`([^`]+)`", row)}
    commands = {"add", "update", "remove"}  # of the command line
    assert named - commands == modules - {"__init__"}


# The project's papers


def test_every_decision_is_listed_and_has_its_parts() -> None:
    folder = ROOT / "docs/decisions"
    pages = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert sorted(links(read_document("docs/decisions/README.md"))) == pages
    assert len({page[:4] for page in pages}) == len(pages)  # numbers may be left out, never used twice
    for page in pages:
        text = (folder / page).read_text(encoding="utf-8")
        assert re.match(rf"# {page[:4]}: ", text), page
        parts = re.findall(r"^\*\*(Context|Decision|Weighed|Consequences)", text, re.MULTILINE)
        assert {"Context", "Decision", "Consequences"} <= set(parts), page


def test_the_citation_names_the_paper() -> None:
    citation = yaml.safe_load(read_document("CITATION.cff"))
    assert citation["cff-version"] == "1.2.0"
    paper = citation["preferred-citation"]
    assert paper["doi"] == "10.1007/978-3-030-58539-6_33"
    names = [author["family-names"] for author in paper["authors"]]
    assert names == ["Boudiaf", "Rony", "Ziko", "Granger", "Pedersoli", "Piantanida", "Ben Ayed"]
