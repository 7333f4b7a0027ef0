"""Batches, forced on a CPU: the vectors are those of single pictures, and nobody pays for a neighbour."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from index.bundle import Bundle
from index.encoder import Encoder
from index.errors import BrokenImageError, BundleFormatError, VectorError
from index.searcher import search_picture
from service.batching import Batcher, Batching
from service.engine import Engine
from service.sessions import Sessions
from service.settings import Settings
from tests.drawn_pictures import draw_picture

CPU = "CPUExecutionProvider"
PLAN = Batching(CPU, size=4, wait_seconds=0.05)
PICTURES = [draw_picture(colour, number) for colour in ("red", "green", "blue") for number in range(4)]


class Watched:
    """A session that notes how many pictures came at a time, and fails as it is told."""

    def __init__(self, session: Any, fails: Callable[[NDArray[np.float32]], bool] = lambda _: False) -> None:
        self.session, self.fails = session, fails
        self.sizes: list[int] = []

    def run(self, names: list[str], inputs: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        self.sizes.append(len(inputs["image"]))
        if self.fails(inputs["image"]):
            raise RuntimeError("bad input")
        return self.session.run(names, inputs)  # type: ignore[no-any-return]


def watch(batcher: Batcher, fails: Callable[[NDArray[np.float32]], bool] = lambda _: False) -> Watched:
    watched = Watched(batcher._engine.session, fails)
    batcher._engine.session = watched
    return watched


def encode_all(batcher: Batcher, work: Callable[[Encoder, int], Any], count: int) -> list[Any]:
    """On a thread each."""
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(lambda number: work(batcher.make_encoder(), number), range(count)))


def test_vectors_are_those_of_single_pictures_and_come_to_whom_they_belong(tiny_bundle: Bundle) -> None:
    batcher, alone = Batcher(tiny_bundle, PLAN, CPU), Encoder(tiny_bundle)
    watched = watch(batcher)
    rows = encode_all(batcher, lambda encoder, number: encoder.encode_bytes(PICTURES[number]), len(PICTURES))
    for row, data in zip(rows, PICTURES, strict=True):
        np.testing.assert_allclose(row, alone.encode_bytes(data), atol=1e-6)
    assert max(watched.sizes) > 1
    assert max(watched.sizes) <= PLAN.size
    assert sum(watched.sizes) == len(PICTURES)


def test_a_lone_picture_waits_no_longer_than_said(tiny_bundle: Bundle) -> None:
    encoder = Batcher(tiny_bundle, Batching(CPU, size=64, wait_seconds=0.05), CPU).make_encoder()
    encoder.encode_bytes(PICTURES[0])
    started = time.perf_counter()
    encoder.encode_bytes(PICTURES[0])
    assert 0.04 < time.perf_counter() - started < 1


@pytest.mark.parametrize("bad", ["not a number", "refused by the runtime", "no length"])
def test_one_bad_picture_never_fails_its_batch(tiny_bundle: Bundle, bad: str) -> None:
    batcher = Batcher(tiny_bundle, PLAN, CPU)
    watch(batcher, lambda images: bad == "refused by the runtime" and bool((images == 1234).any()))
    zeros = np.zeros((3, 32, 32), dtype=np.float32)
    value = {"not a number": np.nan, "refused by the runtime": 1234.0, "no length": np.inf}[bad]

    def work(encoder: Encoder, number: int) -> Any:
        try:
            return encoder.encode(zeros + (value if number == 1 else number))
        except (VectorError, BundleFormatError) as error:
            return error

    results = encode_all(batcher, work, 4)
    assert isinstance(results[1], VectorError | BundleFormatError)
    assert all(isinstance(results[number], np.ndarray) for number in (0, 2, 3))


def test_a_service_searches_through_it_and_opens_a_sick_session_anew(drawn_index: Path, tiny_bundle: Bundle) -> None:
    async def search(engine: Engine, data: bytes) -> str:
        result = await engine.run(lambda encoder, searcher: search_picture(searcher, encoder, data, 1))
        return result.matches[0].item.label or ""

    async def search_many(engine: Engine) -> list[str | BaseException]:
        bodies = [PICTURES[0], PICTURES[0][:100], PICTURES[4], PICTURES[8]]
        return await asyncio.gather(*(search(engine, data) for data in bodies), return_exceptions=True)

    with Engine(Settings(drawn_index, batching=PLAN)) as engine:
        assert engine.models.current.size == 2 * PLAN.size
        for _ in range(2):
            red, broken, green, blue = asyncio.run(search_many(engine))
            assert (red, green, blue) == ("red", "green", "blue")
            assert isinstance(broken, BrokenImageError)
            batcher = engine.models.current._batcher
            assert batcher is not None
            watch(batcher, lambda _: True)
            assert engine.models.probe() is None


def test_without_an_accelerator_there_is_none(tiny_bundle: Bundle) -> None:
    assert Batching().choose_provider() is None
    with Sessions(tiny_bundle, 1).borrow() as encoder:
        assert type(encoder) is Encoder


def test_its_thread_ends_with_its_last_encoder(tiny_bundle: Bundle) -> None:
    def count() -> int:
        return sum(thread.name == "batches" for thread in threading.enumerate())

    before = count()
    encoder = Batcher(tiny_bundle, PLAN, CPU).make_encoder()
    assert count() == before + 1
    encoder.encode_bytes(PICTURES[0])
    del encoder
    gc.collect()
    end = time.monotonic() + 5
    while count() > before:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_provider_that_is_not_there_is_said(tiny_bundle: Bundle) -> None:
    with pytest.raises(BundleFormatError, match=r"accelerator|load the model"):
        Batcher(tiny_bundle, PLAN, "CUDAExecutionProvider")
