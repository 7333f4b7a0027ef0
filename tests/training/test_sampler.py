from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.errors import UsageError
from training.config import Config, TrainConfig
from training.sampler import check_sampler, order_epoch, share_alone

NAMES = ("a", "b", "c", "d")


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 99), st.integers(1, 3))
def test_every_batch_has_so_many_of_so_many_classes(per_class: int, wanted: int, epoch: int, accumulate: int) -> None:
    labels = np.repeat(np.arange(4), [4, 7, 20, 11])
    config = TrainConfig(
        batch_size=max(2, per_class * wanted), per_class=per_class, sampler="m_per_class", accumulate=accumulate
    )
    order = order_epoch(labels, config, epoch)
    assert len(order) == len(labels) // (config.batch_size * accumulate) * accumulate
    for batch in order:
        assert len(set(batch.tolist())) == config.batch_size
        counts = Counter(labels[batch].tolist())
        assert set(counts.values()) == {per_class}
        assert len(counts) == config.batch_size // per_class
    np.testing.assert_array_equal(order, order_epoch(labels, config, epoch))
    if len(order) > 3:
        assert (order != order_epoch(labels, config, epoch + 1)).any()


def test_a_classs_pictures_come_round_before_one_comes_again() -> None:
    labels = np.repeat([0, 1], 10)
    config = TrainConfig(batch_size=4, per_class=2, sampler="m_per_class")
    seen = order_epoch(labels, config, 0).ravel().tolist()
    assert sorted(seen) == list(range(20))


def test_a_shuffle_leaves_out_what_fills_no_step(make_config: Callable[..., Config]) -> None:
    labels = np.zeros(23, np.int64)
    order = order_epoch(labels, TrainConfig(batch_size=3, accumulate=2), 0)
    assert order.shape == (6, 3)
    assert len(set(order.ravel().tolist())) == 18


@pytest.mark.parametrize(
    ("changes", "labels", "says"),
    [
        ({"batch_size": 25}, [0] * 24, r"train\.batch_size: fewer pictures than one batch .*at most 24"),
        ({"batch_size": 9, "accumulate": 3}, [0] * 24, r"fewer pictures than one step's batches .*at most 8"),
        (
            {"batch_size": 6, "per_class": 3, "sampler": "m_per_class"},
            [0, 0, 1, 1, 1, 2, 2, 3, 3, 3],
            r"train\.per_class: classes with too few pictures: a \(2\), c \(2\) .*at least 3 of each",
        ),
        (
            {"batch_size": 10, "per_class": 2, "sampler": "m_per_class"},
            [0, 1, 2, 3] * 5,
            r"more classes than there are .*at least 3 of 4 classes",
        ),
    ],
)
def test_what_fills_no_batch_is_refused(changes: dict[str, object], labels: list[int], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        check_sampler(labels, NAMES, TrainConfig(**changes))  # type: ignore[arg-type]


def test_whole_classes_must_make_a_batch(make_config: Callable[..., Config]) -> None:
    with pytest.raises(UsageError, match=r"per_class must divide batch_size \(8\); it is 3"):
        make_config(train__sampler="m_per_class", train__per_class=3)


def test_how_many_pictures_are_alone_in_their_batch() -> None:
    every_class_twice = np.repeat(np.arange(50), 2).tolist()
    assert share_alone(every_class_twice, TrainConfig(batch_size=4)) > 0.8
    assert share_alone(every_class_twice, TrainConfig(batch_size=100)) == 0
    assert share_alone(every_class_twice, TrainConfig(batch_size=4, sampler="m_per_class", per_class=2)) == 0
