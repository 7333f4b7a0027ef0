"""Every job is answered: late ones, abandoned ones, and those whose thread dies under them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from service.logs import REQUEST_ID
from service.problems import DeadlineError, WorkerDiedError
from service.workers import Workers


@pytest.fixture
def workers() -> Iterator[Workers]:
    """One thread."""
    opened = Workers(1)
    yield opened
    opened.close()


def test_results_and_errors_come_back(workers: Workers) -> None:
    async def ask() -> None:
        assert await workers.run(lambda: 7, 5) == 7
        with pytest.raises(ZeroDivisionError):
            await workers.run(lambda: 1 // 0, 5)
        assert await workers.run(threading.get_ident, 5) != threading.get_ident()

    asyncio.run(ask())


def test_a_job_knows_which_request_it_is_of(workers: Workers) -> None:
    """So that a line of the log that a thread writes has the request's id."""

    async def ask(request: str) -> str | None:
        REQUEST_ID.set(request)
        return await workers.run(REQUEST_ID.get, 5)

    async def ask_twice() -> list[str | None]:
        return await asyncio.gather(ask("a"), ask("b"))

    assert asyncio.run(ask_twice()) == ["a", "b"]


def test_a_job_whose_deadline_passes_is_never_begun(workers: Workers) -> None:
    begun: list[int] = []

    async def ask() -> None:
        slow = asyncio.ensure_future(workers.run(lambda: time.sleep(0.3), 5))
        await asyncio.sleep(0.02)
        started = time.monotonic()
        with pytest.raises(DeadlineError, match=r"within 0\.05 s"):
            await workers.run(lambda: begun.append(1), 0.05)
        assert time.monotonic() - started < 0.25  # it did not wait for the slow one
        await slow
        await workers.run(lambda: None, 5)

    asyncio.run(ask())
    assert begun == []


def test_a_job_that_was_begun_may_end_after_its_deadline(workers: Workers) -> None:
    async def ask() -> int:
        return await workers.run(lambda: time.sleep(0.15) or 7, 0.05)

    assert asyncio.run(ask()) == 7


def test_a_cancelled_job_is_never_begun(workers: Workers) -> None:
    begun: list[int] = []

    async def ask() -> None:
        slow = asyncio.ensure_future(workers.run(lambda: time.sleep(0.1), 5))
        left = asyncio.ensure_future(workers.run(lambda: begun.append(1), 5))
        await asyncio.sleep(0.02)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        await slow
        await workers.run(lambda: None, 5)

    asyncio.run(ask())
    assert begun == []


@pytest.mark.parametrize("death", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_thread_that_dies_answers_its_job_and_is_replaced(death: type[BaseException], workers: Workers) -> None:
    def die() -> None:
        raise death

    async def ask() -> None:
        for _ in range(3):  # the replacement may die as well
            before = await workers.run(threading.current_thread, 5)
            dying = asyncio.ensure_future(workers.run(die, 5))
            waiting = [asyncio.ensure_future(workers.run(threading.current_thread, 5)) for _ in range(3)]
            with pytest.raises(WorkerDiedError, match=death.__name__):
                await dying
            assert before not in await asyncio.gather(*waiting)

    asyncio.run(ask())


def test_closing_answers_whoever_waits() -> None:
    workers = Workers(1)
    go = threading.Event()

    async def ask() -> None:
        running = asyncio.ensure_future(workers.run(lambda: go.wait(5), 5))
        waiting = asyncio.ensure_future(workers.run(lambda: 7, 5))
        await asyncio.sleep(0.05)
        assert workers.waiting == 1
        closing = asyncio.ensure_future(asyncio.to_thread(workers.close))
        with pytest.raises(WorkerDiedError, match="stopping"):
            await waiting
        go.set()
        assert await running
        await closing
        with pytest.raises(WorkerDiedError, match="stopping"):
            await workers.run(lambda: 7, 5)

    asyncio.run(ask())
