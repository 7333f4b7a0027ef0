"""Pictures -> model -> index -> page in one command, answering while the rest is still being indexed.

A folder of one's own is brought up to date on every later run, with the page open from the start.

The build runs in a process of its own, so that searches keep their threads; both meet in the index folder.
"""

from __future__ import annotations

import hashlib
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from index.builder import find_complete_source
from index.bundle import read_bundle
from index.catalog import Catalog
from index.errors import BundleError, CrossmatchError
from index.layout import Layout
from index.model_export import export_pretrained
from index.sources import Source, read_source
from index.terminal import print_note
from service.access.policy import Access
from service.sample import ATTRIBUTION, write_sample_manifest
from service.server import holding_off_the_end, run_server
from service.settings import Settings

_BACKBONE = "efficientnet_lite0"
_ENOUGH = 256  # pictures in the index before the page opens
_POLL_SECONDS = 0.1
_STOP_SECONDS = 10.0


@dataclass(frozen=True)
class DemoPlan:
    """What a demo shows and where it keeps its work."""

    home: Path
    images: Path | None  # None: the sample
    access: Access = field(default_factory=Access)

    @property
    def bundle(self) -> Path:
        """The default model."""
        return self.home / "model"

    @property
    def index(self) -> Path:
        """An index folder for each source of pictures."""
        if self.images is None:
            return self.home / "sample.index"
        name = hashlib.sha256(str(self.images.absolute()).encode()).hexdigest()[:8]
        return self.home / f"{self.images.absolute().name}-{name}.index"


def run_demo(plan: DemoPlan, bound: socket.socket) -> None:
    """Serve the demo until interrupted. Raises what any of its steps raises."""
    plan.home.mkdir(parents=True, exist_ok=True)
    source = _find_source(plan)
    _make_model(plan)
    with _indexing(plan, source):
        attribution = ATTRIBUTION if plan.images is None else None
        settings = Settings(plan.index, access=plan.access, attribution=attribution)
        run_server(settings, bound, lambda url: _greet(url, source))


def _find_source(plan: DemoPlan) -> Source:
    if plan.images is not None:
        return read_source(plan.images)
    manifest = plan.home / "sample.csv"
    write_sample_manifest(manifest)
    return read_source(manifest)


def _make_model(plan: DemoPlan) -> None:
    try:
        read_bundle(plan.bundle)
    except BundleError:
        print_note(f"Making the model {_BACKBONE} in {plan.bundle}")
        export_pretrained(_BACKBONE, plan.bundle)


@contextmanager
def _indexing(plan: DemoPlan, source: Source) -> Iterator[None]:
    """Bring the index into step with the source in a process of its own; enough is there when this is entered.

    The sample never changes: once it is indexed, nothing is to be done.
    """
    layout = Layout(plan.index)
    whole = find_complete_source(layout, source.name) is not None
    if whole and plan.images is None:
        yield
        return
    print_note(f"{'Looking for changes among' if whole else 'Indexing'} {len(source.pictures)} pictures: {plan.index}")
    builder = None
    try:
        with holding_off_the_end():
            builder = _start_builder(plan, source)
        if not whole:
            _wait_for_first(layout, builder, min(_ENOUGH, len(source.pictures)))
        yield
    finally:
        if builder is not None:
            _stop(builder)


def _start_builder(plan: DemoPlan, source: Source) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "crossmatch", "index", "build", source.name, "--update"]
    return subprocess.Popen([*command, "--model", str(plan.bundle), "--index", str(plan.index)], stdout=sys.stderr)


def _wait_for_first(layout: Layout, builder: subprocess.Popen[bytes], enough: int) -> None:
    while builder.poll() is None:
        if layout.is_index():
            with Catalog(layout.catalog) as catalog:
                if catalog.count_items() >= enough:
                    return
        time.sleep(_POLL_SECONDS)
    if builder.returncode:
        raise CrossmatchError("the pictures could not be indexed", found="the reason above")


def _stop(builder: subprocess.Popen[bytes]) -> None:
    """End the build; it goes on where it was the next time."""
    if builder.poll() is None:
        builder.terminate()
        try:
            builder.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            builder.kill()
            builder.wait()


def _greet(url: str, source: Source) -> None:
    picture = source.pictures[len(source.pictures) // 3].path
    print_note(
        f"\nThe search page: {url}   the API: {url}/docs\nOr try:\n"
        f"  curl -F {quote_form_file(picture)} '{url}/v1/search?k=5'\n(stop with Ctrl-C)\n"
    )


def quote_form_file(path: Path) -> str:
    """`image=@PATH` for a shell and for curl, which reads `;`, `,` and `"` in a bare path as its own."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return shlex.quote(f'image=@"{escaped}"')
