"""The project's documents as data: code blocks, sections, tables, links and anchors. No more Markdown than they use."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)


def list_documents() -> list[Path]:
    """Every Markdown file of the project."""
    folders = ("docs", "docker", "benchmarks", "configs")
    return sorted([*ROOT.glob("*.md"), *(path for folder in folders for path in (ROOT / folder).rglob("*.md"))])


def read_document(name: str) -> str:
    """The text of a document, by its path from the root."""
    return (ROOT / name).read_text(encoding="utf-8")


def code_blocks(text: str, language: str | None = None) -> list[str]:
    """The fenced blocks, of one language or of any."""
    return [body for found, body in _FENCE.findall(text) if language in (None, found)]


def without_code(text: str) -> str:
    """The prose: fenced blocks taken out."""
    return _FENCE.sub("", text)


def sections(text: str) -> dict[str, str]:
    """Heading -> the text up to the next heading of any level."""
    blank = _FENCE.sub(lambda match: re.sub(r"^#", " ", match[0], flags=re.MULTILINE), text)
    found = list(_HEADING.finditer(blank))
    ends = [match.start() for match in found[1:]] + [len(text)]
    return {match[2]: text[match.end() : end] for match, end in zip(found, ends, strict=True)}


def table_names(text: str) -> list[str]:
    """What stands in backquotes at the beginning of each table row."""
    return re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)


def links(text: str) -> list[str]:
    """The targets of all links and pictures."""
    return _LINK.findall(without_code(text)) + re.findall(r'(?:src|href)="([^"]+)"', without_code(text))


def anchors(text: str) -> set[str]:
    """What `#...` may name in a document, as GitHub makes it from the headings."""
    return {_slug(title) for title in sections(text)}


def _slug(title: str) -> str:
    kept = [c for c in title.lower() if c in " -_" or unicodedata.category(c)[0] in "LN"]
    return "".join(kept).replace(" ", "-")
