"""Another model's encoders are warm before its generation answers, and the old model's go after it."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from index.announcement import announcing
from index.builder import BuildPlan, build_index
from index.bundle import Bundle
from index.catalog_writer import CatalogWriter
from index.encoder import Encoder
from index.generations import EncodingPlan, roll_back
from index.item_changes import NewItem
from index.layout import Layout
from index.searcher import Searcher, search_views
from index.sources import read_source
from index.writer import Outcome
from service import models as module
from service.engine import Engine
from service.models import Models
from service.sessions import Sessions
from service.settings import Settings
from service.writes import encode, put
from tests.drawn_pictures import draw_picture
from tests.tiny_model import write_tiny_bundle


@pytest.fixture
def other(tmp_path: Path) -> Bundle:
    """Another model."""
    return write_tiny_bundle(tmp_path / "other", seed=1)


@pytest.fixture
def index(drawn_pictures: Path, tiny_bundle: Bundle, other: Bundle, tmp_path: Path) -> Layout:
    """An index with a generation of each model, the tiny one's active."""
    folder = tmp_path / "index"
    source = read_source(drawn_pictures)
    for bundle in (tiny_bundle, other):
        build_index(source, bundle, folder, BuildPlan(1))
    swap(Layout(folder))
    return Layout(folder)


def swap(layout: Layout) -> None:
    """To the generation that answered before."""
    with CatalogWriter(layout.catalog) as catalog:
        roll_back(layout, catalog, None, EncodingPlan(1))


def earlier(layout: Layout) -> str:
    with CatalogWriter(layout.catalog) as catalog:
        return catalog.generations()[1].name


def test_what_is_announced_is_opened_beside_and_let_go_when_it_is_not(
    index: Layout, tiny_bundle: Bundle, other: Bundle
) -> None:
    with Searcher(index.folder) as searcher:
        models = Models(searcher, Settings(index.folder, threads=1))
        models.prepare()
        assert models.ahead == frozenset()
        with announcing(index, earlier(index)):
            models.prepare()
            assert models.ahead == {other.manifest.model_id}
            assert models.current.bundle.manifest.model_id == tiny_bundle.manifest.model_id
            opened = models._ahead[other.manifest.model_id]
            swap(index)
            assert models.follow() is opened
        models.prepare()
        assert models.ahead == frozenset()
        with announcing(index, earlier(index)):
            models.prepare()
        models.prepare()
        assert models.ahead == frozenset()  # it never came to the swap


def test_a_swap_that_no_query_saw_is_followed_too(index: Layout, other: Bundle) -> None:
    with Searcher(index.folder) as searcher:
        models = Models(searcher, Settings(index.folder, threads=1))
        swap(index)
        models.prepare()
        assert models.current.bundle.manifest.model_id == other.manifest.model_id


def test_a_write_follows_a_swap_that_no_query_saw(
    index: Layout, other: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor anyone who looks for announcements: he is still opening encoders, say."""
    monkeypatch.setattr("service.engine._LOOK_SECONDS", 60)
    data = draw_picture("white", 50)

    async def write(engine: Engine) -> Outcome:
        picture = await encode(engine, data)
        swap(index)
        return (await put(engine, NewItem("new"), data, picture))[0]

    with Engine(Settings(index.folder, threads=1)) as engine:
        assert asyncio.run(write(engine)) is Outcome.ADDED
        found = search_views(engine.searcher, Encoder(other), [data], 1).matches[0]
        assert (found.item.key, round(found.score, 5)) == ("new", 1.0)


def test_the_old_models_encoders_go_when_the_last_query_that_has_one_ends(index: Layout) -> None:
    with Engine(Settings(index.folder, threads=1)) as engine:
        old = weakref.ref(engine.models.current)
        begun, go = threading.Event(), threading.Event()

        def hold(encoder: Encoder, _searcher: Searcher) -> None:
            begun.set()
            go.wait(5)
            assert encoder.encode_bytes(draw_picture("red")) is not None

        async def ask() -> None:
            holding = asyncio.ensure_future(engine.run(hold))
            await asyncio.to_thread(begun.wait, 5)
            swap(index)
            await asyncio.to_thread(wait_until, lambda: engine.models.current is not old())
            assert old() is not None
            go.set()
            await holding

        asyncio.run(ask())
        wait_until(lambda: gc.collect() >= 0 and old() is None)


def test_no_query_opens_encoders_that_were_announced(index: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are opened on the thread that looks after models, and on no other."""
    opened_by: list[str] = []
    original = Sessions.__init__

    def note(self: Sessions, *arguments: object) -> None:
        opened_by.append(threading.current_thread().name)
        original(self, *arguments)  # type: ignore[arg-type]

    with Engine(Settings(index.folder, threads=1)) as engine:
        monkeypatch.setattr(module.Sessions, "__init__", note)
        with announcing(index, earlier(index)):
            wait_until(lambda: bool(engine.models.ahead))
            swap(index)
            views = [draw_picture("red")]
            asyncio.run(engine.run(lambda encoder, searcher: search_views(searcher, encoder, views, 3)))
    assert opened_by == ["models"]


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
