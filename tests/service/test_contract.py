"""Short runs of benchmarks/contract_fuzz.py and benchmarks/abuse.py: it keeps to its document, and its memory."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from schemathesis.checks import CHECKS, load_all_checks

from benchmarks.abuse import MUTATIONS, REFUSED, attack, list_hostile, pick_picture
from benchmarks.contract_fuzz import DANGEROUS, FORMS_LEFT_OUT, LEFT_OUT, fuzz
from benchmarks.drawn_service import DrawnService, serve_drawn
from index.bundle import Bundle


@pytest.fixture(scope="module")
def served(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrawnService]:
    with serve_drawn(tmp_path_factory.mktemp("served"), tiny_bundle) as service:
        yield service
        assert httpx.get(f"{service.server.url}/readyz").status_code == 200
        assert "Traceback" not in service.server.log.read_text()


def test_uploads_that_mean_harm_change_nothing(served: DrawnService) -> None:
    before = served.server.memory()
    report = attack(served, uploads=240, seed=7)
    assert report.faults == []
    assert report.good == 24
    assert set(report.statuses) == {200, *REFUSED}
    assert set(report.kinds) == {*MUTATIONS, "good", "bomb", "frames", "random"}
    assert max(report.seconds) < 15
    assert served.server.memory("VmHWM") - before < 700  # MiB: two pictures of 49 million pixels may be open at once


def test_the_service_keeps_to_its_own_document(served: DrawnService) -> None:
    report = fuzz(served, examples=4, seed=3)
    assert report.failures == []
    document = httpx.get(f"{served.server.url}/openapi.json").json()
    every = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert set(report.asked) == every - set(DANGEROUS)
    assert not [status for status in report.statuses if status >= 500]


def test_each_check_that_is_left_out_exists_and_has_its_reason() -> None:
    load_all_checks()
    for name, reason in {**LEFT_OUT, **FORMS_LEFT_OUT}.items():
        assert name in CHECKS.get_all_names()
        assert len(reason) > 20


def test_the_same_seed_sends_the_same() -> None:
    assert list(list_hostile(120, 5)) == list(list_hostile(120, 5))
    assert list(list_hostile(120, 5)) != list(list_hostile(120, 6))


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_changes_the_file(name: str) -> None:
    random = np.random.default_rng(0)
    pictures = [pick_picture(random) for _ in range(20)]
    changed = [MUTATIONS[name](picture, random) != picture for picture in pictures]
    assert sum(changed) >= 18
