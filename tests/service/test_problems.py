"""The one table from errors to statuses, and what a problem document says and keeps to itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from index import errors
from service.problems import MEDIA_TYPE, STATUSES, BodyTooLargeError, BusyError, make_problem, status_of


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.UnsupportedImageError("x"), 415),
        (errors.ImageTooLargeError("x"), 413),
        (BodyTooLargeError("x"), 413),
        (errors.BrokenImageError("x"), 422),
        (errors.VectorError("x"), 422),
        (errors.UsageError("x"), 422),
        (errors.ItemNotFoundError("x"), 404),
        (errors.OriginalMissingError("x"), 410),
        (BusyError("x"), 429),
        (errors.IndexBusyError("x"), 503),
        (errors.ModelMismatchError("x"), 503),
        (errors.GoldenMismatchError("x"), 503),
        (errors.CrossmatchError("x"), 503),
    ],
)
def test_each_error_has_the_status_of_its_nearest_class(error: errors.CrossmatchError, status: int) -> None:
    assert status_of(error) == status


def test_no_error_becomes_an_internal_one() -> None:
    assert 500 not in STATUSES.values()
    assert STATUSES[errors.CrossmatchError] == 503


def test_a_problem_document_repeats_its_status_and_names_it() -> None:
    response = make_problem(404, "no such item", {"X-Tried": "1"})
    assert response.status_code == 404
    assert (response.headers["content-type"], response.headers["x-tried"]) == (MEDIA_TYPE, "1")
    expected = {"type": "about:blank", "title": "Not Found", "status": 404, "detail": "no such item"}
    assert json.loads(bytes(response.body)) == expected


def test_the_place_on_the_servers_disk_is_left_out() -> None:
    error = errors.VectorError("no length", where=Path("/srv/secret/model.onnx"), expected="one", remedy="another")
    assert "/srv/secret" in str(error)
    assert error.reason == "no length (expected one); another"
    assert errors.VectorError("no length").reason == "no length"
