"""What must not start does not, and no more is taken on than may wait."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from index.builder import BuildPlan, build_index
from index.bundle import Bundle, read_bundle
from index.catalog_writer import CatalogWriter
from index.encoder import Encoder
from index.errors import BundleDigestError, BundleFormatError, GoldenMismatchError, IndexDataError
from index.generations import EncodingPlan, roll_back
from index.layout import Layout
from index.manifest import file_digest, read_manifest, write_manifest
from index.searcher import Searcher, search_picture
from index.sources import read_source
from index.types import Vectors
from service.engine import Engine
from service.problems import WorkerDiedError
from service.settings import Settings
from tests.drawn_pictures import draw_picture
from tests.service.live_service import expect_problem, search, serve
from tests.tiny_model import write_tiny_bundle


@pytest.fixture
def own_index(drawn_index: Path, tmp_path: Path) -> Path:
    """The drawn pictures' index in a folder that the test may change."""
    return Path(shutil.copytree(drawn_index, tmp_path / "own.index"))


def find_bundle(index: Path) -> Bundle:
    return read_bundle(Layout(index).model((index / "CURRENT").read_text().strip()))


def falsify_golden(bundle: Bundle) -> None:
    """Other vectors in golden.npz, under a digest that fits."""
    path = bundle.folder / "golden.npz"
    with np.load(path) as arrays:
        changed = {name: arrays[name] for name in arrays.files}
    vectors = next(name for name, values in changed.items() if values.ndim == 2 and values.dtype == np.float32)
    changed[vectors] = np.roll(changed[vectors], 1, axis=1)
    np.savez(path, **changed)
    manifest = read_manifest(bundle.folder)
    files = manifest.files | {path.name: file_digest(path)}
    write_manifest(bundle.folder, manifest.model_copy(update={"files": files}))


def test_every_encoder_has_run_before_the_first_query(drawn_index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    original = Encoder.encode

    def count(encoder: Encoder, pixels: NDArray[np.float32]) -> Vectors:
        ran.append(id(encoder))
        return original(encoder, pixels)

    monkeypatch.setattr(Encoder, "encode", count)
    with Engine(Settings(drawn_index, threads=3, probe_seconds=60)) as engine:
        assert engine.models.current.size == 3
        assert len(set(ran)) == len(ran) == 3


def test_a_model_that_computes_otherwise_is_not_served(own_index: Path) -> None:
    falsify_golden(find_bundle(own_index))
    with pytest.raises(GoldenMismatchError, match="golden picture 0 gives another vector"):
        Engine(Settings(own_index))


def test_a_damaged_model_is_not_served(own_index: Path) -> None:
    bundle = find_bundle(own_index)
    model = bundle.model_path
    model.write_bytes(model.read_bytes()[:-1] + b"!")
    with pytest.raises(BundleDigestError):
        Engine(Settings(own_index))
    model.unlink()
    with pytest.raises(BundleFormatError):
        Engine(Settings(own_index))


def test_a_folder_that_is_no_index_is_not_served(tmp_path: Path) -> None:
    with pytest.raises(IndexDataError, match="not an index"):
        Engine(Settings(tmp_path))


def test_a_full_service_says_so_and_recovers(drawn_index: Path, tmp_path: Path) -> None:
    picture = draw_picture("red")

    def slowly(client: httpx.Client) -> Iterator[bytes]:
        """A body that stays on the way until another search was refused."""
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        yield picture[:50]
        for _ in range(100):  # until the slow one has come in that far
            refused = client.post("/v1/search", files={"image": picture})
            if refused.status_code != 200:
                break
        expect_problem(refused, 429, "too many searches", "try again")
        assert refused.headers["retry-after"] == "1"
        assert client.get("/v1/items/1/thumbnail").status_code == 200  # pictures and health never wait behind searches
        assert client.get("/readyz").status_code == 200
        yield picture[50:] + b"\r\n--b--\r\n"

    with (
        serve(drawn_index, tmp_path / "log", "--waiting", 1) as service,
        httpx.Client(base_url=service.url, timeout=20) as client,
        httpx.Client(base_url=service.url, timeout=20) as other,
    ):
        headers = {"content-type": "multipart/form-data; boundary=b"}
        answer = client.post("/v1/search", content=slowly(other), headers=headers)
        assert answer.status_code == 200
        assert answer.json()["results"] == search(other, picture)["results"]


def test_while_a_generation_is_swapped_every_query_is_answered(
    drawn_pictures: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    """There and back, by another process's hand; a client asks all the while and never waits for a restart."""
    index, better = tmp_path / "index", write_tiny_bundle(tmp_path / "better", seed=1)
    source = read_source(drawn_pictures)
    build_index(source, tiny_bundle, index, BuildPlan(1))
    done, answers = threading.Event(), []

    def ask(url: str) -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            while not done.is_set():
                answers.append(search(client, draw_picture("red", 99), 24))

    with serve(index, tmp_path / "log") as service, ThreadPoolExecutor(2) as threads:
        asking = [threads.submit(ask, service.url) for _ in range(2)]
        try:
            wait_for_answers(answers, 10)
            build_index(source, better, index, BuildPlan(1))
            wait_for_answers(answers, 10)
            with CatalogWriter(Layout(index).catalog) as catalog:
                roll_back(Layout(index), catalog, None, EncodingPlan(1))
            wait_for_answers(answers, 10)
        finally:
            done.set()
        for client in asking:
            client.result()  # each answer was a 200 with what the index holds
    kinds = {json.dumps(answer, sort_keys=True): answer["index"]["model"] for answer in answers}
    assert sorted(kinds.values()) == sorted([tiny_bundle.manifest.model_id, better.manifest.model_id])
    assert all(len(answer["results"]) == 24 for answer in answers)
    assert "Traceback" not in (tmp_path / "log").read_text()


def wait_for_answers(answers: list[dict[str, Any]], more: int) -> None:
    """Until so many more came in."""
    end, wanted = time.monotonic() + 30, len(answers) + more
    while len(answers) < wanted:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_it_is_not_ready_once_it_is_told_to_stop(drawn_index: Path) -> None:
    async def ask(engine: Engine) -> None:
        assert await engine.find_fault() is None
        engine.stopping = True
        assert await engine.find_fault() == "the service is stopping"

    with Engine(Settings(drawn_index, threads=1)) as engine:
        asyncio.run(ask(engine))


def test_a_query_whose_thread_dies_is_answered_and_the_next_one_too(drawn_index: Path) -> None:
    red = draw_picture("red")

    def die(_encoder: Encoder, _searcher: Searcher) -> None:
        raise SystemExit

    async def ask(engine: Engine) -> None:
        for _ in range(3):
            with pytest.raises(WorkerDiedError, match="SystemExit"):
                await engine.run(die)
            found = await engine.run(lambda encoder, searcher: search_picture(searcher, encoder, red, 1))
            assert found.matches[0].item.label == "red"
        assert await engine.find_fault() is None

    with Engine(Settings(drawn_index, threads=1)) as engine:
        asyncio.run(ask(engine))


def test_searches_that_hold_every_thread_starve_neither_questions_nor_writes(drawn_index: Path, tmp_path: Path) -> None:
    index = Path(shutil.copytree(drawn_index, tmp_path / "own.index"))
    go = threading.Event()

    async def ask(engine: Engine) -> None:
        holding = [asyncio.ensure_future(engine.run(lambda _, __: go.wait(10))) for _ in range(4)]
        await asyncio.sleep(0.05)
        async with asyncio.timeout(5):
            assert (await engine.ask(lambda searcher: searcher.info())).size == 24
            assert await engine.find_fault() is None
            await engine.write(lambda editor: editor.remove([engine.searcher.list_items(0, 1)[0].key]))
            assert (await engine.ask(lambda searcher: searcher.info())).size == 23
        go.set()
        await asyncio.gather(*holding)

    with Engine(Settings(index, threads=2)) as engine:
        asyncio.run(ask(engine))
