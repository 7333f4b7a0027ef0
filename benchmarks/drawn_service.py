"""A service in a process of its own over an index of drawn pictures, for those who mean it harm.

What may change here: the model. Not: that the service is started as a user starts it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Server, serving
from index.builder import build_index
from index.bundle import Bundle
from index.sources import read_source
from tests.drawn_pictures import write_drawn_pictures


@dataclass(frozen=True)
class DrawnService:
    """One that answers, and the folder that no answer may name."""

    server: Server
    index: Path


@contextmanager
def serve_drawn(folder: Path, bundle: Bundle, options: Sequence[object] = ()) -> Iterator[DrawnService]:
    """An index of 24 pictures in `folder`, served until this is left."""
    index = folder / "drawn.index"
    build_index(read_source(write_drawn_pictures(folder / "pictures")), bundle, index)
    with serving("crossmatch", ["serve", "--index", index, "--log-level", "warning", *options], "/readyz") as server:
        yield DrawnService(server, index)
