import math

import pytest

from training.config import ScheduleConfig
from training.schedule import learning_rate_factor, scale_warmup


def test_the_values_of_the_formula() -> None:
    assert learning_rate_factor(0, 1000, 100) == pytest.approx(0.01)
    assert learning_rate_factor(49, 1000, 100) == pytest.approx(0.5)
    assert learning_rate_factor(500, 1000, 100) == pytest.approx(0.5)
    assert learning_rate_factor(999, 1000, 100) == pytest.approx((1 + math.cos(math.pi * 0.999)) / 2)


def test_it_rises_to_one_peak_and_falls() -> None:
    factors = [learning_rate_factor(i, 172, 43) for i in range(172)]
    peak = factors.index(max(factors))
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    assert min(factors) > 0
    assert max(factors) < 1


@pytest.mark.parametrize(("iterations", "expected"), [(10_000, 100), (172, 43), (3, 1)])
def test_a_short_run_has_a_short_warmup(iterations: int, expected: int) -> None:
    assert scale_warmup(ScheduleConfig(warmup=100, warmup_share=0.25), iterations) == expected
