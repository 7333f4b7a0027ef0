"""Threads that share encoders: order, bounded look-ahead, and errors that end the work."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from index.bundle import Bundle
from index.encoder import Encoder
from index.encoder_pool import EncoderPool, usable_cores
from index.images import ImageLimits


def test_as_many_encoders_as_asked_for(tiny_bundle: Bundle) -> None:
    assert EncoderPool(tiny_bundle).size == usable_cores() >= 1
    pool = EncoderPool(tiny_bundle, 3, ImageLimits(max_pixels=5))
    with pool.borrow() as first, pool.borrow() as second, pool.borrow() as third:
        assert len({id(encoder) for encoder in (first, second, third)}) == 3
        assert first.limits.max_pixels == 5
    assert pool.size == 3


def test_results_come_in_the_order_of_the_inputs(tiny_bundle: Bundle) -> None:
    def work(encoder: Encoder, number: int) -> int:
        time.sleep(0.004 if number % 3 == 0 else 0.0)
        return number * 10

    assert list(EncoderPool(tiny_bundle, 3).map(work, range(40))) == [number * 10 for number in range(40)]
    assert list(EncoderPool(tiny_bundle, 3).map(work, [])) == []


def test_an_encoder_is_one_threads_at_a_time(tiny_bundle: Bundle) -> None:
    busy: set[int] = set()
    shared: list[int] = []
    most = 0
    lock = threading.Lock()

    def work(encoder: Encoder, number: int) -> None:
        nonlocal most
        with lock:
            if id(encoder) in busy:
                shared.append(number)
            busy.add(id(encoder))
            most = max(most, len(busy))
        time.sleep(0.002)
        with lock:
            busy.discard(id(encoder))

    list(EncoderPool(tiny_bundle, 4).map(work, range(60)))
    assert shared == []
    assert most == 4  # all of them at once


def test_looks_ahead_a_few_inputs_and_no_more(tiny_bundle: Bundle) -> None:
    taken = 0

    def inputs() -> Iterator[int]:
        nonlocal taken
        for number in range(1000):
            taken = number + 1
            yield number

    results = EncoderPool(tiny_bundle, 2).map(lambda encoder, number: number, inputs())
    for number in range(50):
        assert next(results) == number
        assert number < taken <= number + 8
    results.close()  # type: ignore[attr-defined]
    assert taken <= 58


def test_an_error_ends_the_work(tiny_bundle: Bundle) -> None:
    begun: list[int] = []

    def work(encoder: Encoder, number: int) -> int:
        begun.append(number)
        time.sleep(0.005)
        if number == 3:
            raise ValueError("picture 3")
        return number

    pool = EncoderPool(tiny_bundle, 2)
    results = pool.map(work, range(1000))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="picture 3"):
        next(results)
    assert len(begun) <= 12
    assert threading.active_count() == 1 or not [t for t in threading.enumerate() if t.name.startswith("encoder")]
    assert list(pool.map(lambda encoder, number: number, range(5))) == [0, 1, 2, 3, 4]  # no encoder was lost


def test_a_borrowed_encoder_comes_back_after_an_error(tiny_bundle: Bundle) -> None:
    pool = EncoderPool(tiny_bundle, 1)
    with pytest.raises(ValueError, match="mine"), pool.borrow():
        raise ValueError("mine")
    with pool.borrow() as encoder:
        assert encoder.bundle is tiny_bundle
