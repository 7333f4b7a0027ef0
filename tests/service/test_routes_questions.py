"""Searches by several pictures and items, pages, batches and classes over HTTP, with a calibrated model."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from index.classification import classify
from index.encoder import Encoder
from index.queries import Bounds, Page, Query, Strategy
from index.searcher import Searcher, search_views
from tests.drawn_pictures import draw_picture, write_drawn_pictures
from tests.indexed_pictures import build
from tests.service.live_service import expect_problem, serve
from tests.tiny_model import tiny_calibration, write_tiny_bundle

RED, BLUE, WHITE = (draw_picture(colour, 50) for colour in ("red", "blue", "white"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("questions")
    bundle = write_tiny_bundle(place / "bundle", 0, tiny_calibration())
    build(write_drawn_pictures(place / "source"), bundle, place / "index")
    return place / "index"


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    log = folder.parent / "log"
    with serve(folder, log) as service, httpx.Client(base_url=service.url, timeout=30) as opened:
        yield opened
    assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def searcher(folder: Path) -> Iterator[Searcher]:
    with Searcher(folder) as searcher:
        yield searcher


@pytest.fixture(scope="module")
def encoder(searcher: Searcher) -> Encoder:
    return Encoder(searcher.read_bundle())


def ask(client: httpx.Client, images: list[bytes], negatives: list[bytes] | None = None, **params: Any) -> Any:
    files = [("image", data) for data in images] + [("negative_image", data) for data in negatives or []]
    response = client.post("/v1/search", params=params, files=files)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("strategy", list(Strategy))
def test_it_answers_what_the_index_answers(
    client: httpx.Client, searcher: Searcher, encoder: Encoder, strategy: Strategy
) -> None:
    near, far = (tuple(encoder.encode_bytes(data) for data in side) for side in ([RED, BLUE], [WHITE]))
    query = Query(near, far, (1, 2), (20,), strategy, encoder.bundle.manifest.model_id)
    bounds = Bounds(min_score=-0.5, exclude=frozenset({3}))
    expected = searcher.ask(query, Page(7), bounds).to_json(0.0)
    params = {"positive_id": [1, 2], "negative_id": 20, "exclude_id": [3], "min_score": -0.5, "k": 7}
    found = ask(client, [RED, BLUE], [WHITE], strategy=strategy.value, **params)
    assert {**found, "took_ms": 0.0} == expected


def test_several_views_are_their_mean(client: httpx.Client, searcher: Searcher, encoder: Encoder) -> None:
    expected = search_views(searcher, encoder, [RED, BLUE, WHITE], 24).to_json(0.0)["results"]
    assert ask(client, [RED, BLUE, WHITE], k=24)["results"] == expected


def test_a_search_by_items_needs_no_body(client: httpx.Client) -> None:
    response = client.post("/v1/search", params={"positive_id": 5, "k": 24})
    results = response.json()["results"]
    assert len(results) == 23
    assert 5 not in [result["id"] for result in results]
    files = {"negative_image": RED}
    assert client.post("/v1/search", params={"positive_id": 5}, files=files).status_code == 200


def test_a_crop_is_a_picture_of_its_own(client: httpx.Client) -> None:
    with Image.open(io.BytesIO(RED)) as image:
        buffer = io.BytesIO()
        image.crop((10, 5, 40, 45)).save(buffer, "PNG")
        size = image.size
    whole = ask(client, [RED])["results"]
    assert ask(client, [RED], crop="10,5,30,40")["results"] == ask(client, [buffer.getvalue()])["results"] != whole
    assert ask(client, [RED], crop=f"0,0,{size[0]},{size[1]}")["results"] == whole


def test_pages_together_are_one_big_page(client: httpx.Client) -> None:
    for params in ({}, {"strategy": "best", "min_score": 0.1, "exclude_id": [1, 9]}):
        whole = ask(client, [RED], [BLUE], k=1000, **params)
        assert whole["next_cursor"] is None
        pages, cursor = [], None
        while True:
            page = ask(client, [RED], [BLUE], k=5, **params, **({"cursor": cursor} if cursor else {}))
            pages += page["results"]
            if (cursor := page["next_cursor"]) is None:
                break
        assert pages == whole["results"]


def test_probabilities(client: httpx.Client) -> None:
    calibration = tiny_calibration()
    everything = ask(client, [RED], k=24)["results"]
    assert [one["probability"] for one in everything] == [calibration.probability(one["score"]) for one in everything]
    likely = ask(client, [RED], k=24, min_probability=0.5)["results"]
    assert likely == [one for one in everything if one["probability"] >= 0.5]
    assert 0 < len(likely) < 24
    assert {one["probability"] for one in ask(client, [RED], [BLUE])["results"]} == {None}


@pytest.mark.parametrize(
    ("params", "files", "status", "words"),
    [
        ({}, [("negative_image", RED)], 422, "no file `image`"),
        ({"crop": "0,0,1000,1"}, [("image", RED)], 422, "not inside the picture"),
        ({"crop": "0,0,1"}, [("image", RED)], 422, "not a crop"),
        ({"crop": "0,0,1,1"}, [("image", RED), ("image", RED)], 422, "one picture"),
        ({"min_score": "1.5"}, [("image", RED)], 422, "min_score: "),
        ({"min_score": "nan"}, [("image", RED)], 422, "min_score: "),
        ({"min_probability": "0.5"}, [("image", RED), ("negative_image", BLUE)], 422, "no probabilities"),
        ({"strategy": "worst"}, [("image", RED)], 422, "strategy: "),
        ({"positive_id": "99"}, [], 404, "no such item"),
        ({"negative_id": "99"}, [("image", RED)], 404, "no such item"),
        ({"positive_id": "0"}, [], 422, "positive_id.0: "),
        ({"exclude_id": ["1"] * 1001}, [("image", RED)], 422, "exclude_id: "),
        ({"cursor": "abc"}, [("image", RED)], 422, "not a cursor"),
        ({"cursor": "x" * 101}, [("image", RED)], 422, "cursor: "),
        ({}, [("image", RED), ("image", b"hello")], 415, "not a picture"),
        ({}, [("image", RED)] * 17, 422, "too many files"),
        ({}, [("picture", RED)], 422, "no file `image`"),
    ],
)
def test_what_can_not_be_asked(client: httpx.Client, params: Any, files: Any, status: int, words: str) -> None:
    expect_problem(client.post("/v1/search", params=params, files=files or None), status, words)


def test_a_cursor_is_of_one_question(client: httpx.Client) -> None:
    cursor = ask(client, [RED], k=3)["next_cursor"]
    assert ask(client, [RED], k=24, cursor=cursor)["next_cursor"] is None
    response = client.post("/v1/search", params={"cursor": cursor}, files={"image": BLUE})
    expect_problem(response, 422, "another search")


class TestBatch:
    def test_each_is_answered_or_refused_by_itself(self, client: httpx.Client) -> None:
        pictures = [RED, b"hello", BLUE, b"", WHITE[:300]] + [draw_picture("green", number) for number in range(70, 80)]
        response = client.post("/v1/search/batch", params={"k": 3}, files=[("image", data) for data in pictures])
        answers = response.json()["answers"]
        assert [one["status"] for one in answers] == [200, 415, 200, 422, 422] + [200] * 10
        for data, one in zip(pictures, answers, strict=True):
            if one["status"] == 200:
                assert one["problem"] is None
                assert {**one["answer"], "took_ms": 0} == {**ask(client, [data], k=3), "took_ms": 0}
            else:
                assert one["answer"] is None
                alone = client.post("/v1/search", files={"image": data})
                assert one["problem"] == alone.json() or not data

    def test_bounds_are_for_all(self, client: httpx.Client) -> None:
        params = {"min_probability": 0.5, "exclude_id": 13, "k": 24}
        response = client.post("/v1/search/batch", params=params, files=[("image", RED), ("image", BLUE)])
        for data, one in zip((RED, BLUE), response.json()["answers"], strict=True):
            assert one["answer"]["results"] == ask(client, [data], **params)["results"]

    def test_what_is_no_batch(self, client: httpx.Client) -> None:
        for files in ([("negative_image", RED)], [("image", RED), ("other", RED)], [("image", RED)] * 33):
            expect_problem(client.post("/v1/search/batch", files=files), 422)
        expect_problem(client.post("/v1/search/batch"), 415)


class TestClassify:
    def test_it_is_the_vote_of_what_a_search_finds(
        self, client: httpx.Client, searcher: Searcher, encoder: Encoder
    ) -> None:
        for colour, data in (("red", RED), ("blue", BLUE), ("white", WHITE)):
            answer = client.post("/v1/classify", params={"k": 6}, files={"image": data}).json()
            verdict = classify(search_views(searcher, encoder, [data], 6).matches)
            assert answer["label"] == verdict.label == colour
            assert answer["none_of_these"] is False
            assert [one["label"] for one in answer["classes"]] == [one.label for one in verdict.classes]
            assert answer["classes"][0]["probability"] == verdict.classes[0].probability
            assert sum(one["votes"] for one in answer["classes"]) == 6

    def test_none_of_these(self, client: httpx.Client) -> None:
        noise = io.BytesIO()
        Image.effect_noise((64, 64), 200).save(noise, "PNG")
        answer = client.post("/v1/classify", params={"min_probability": 1}, files={"image": noise.getvalue()}).json()
        assert (answer["label"], answer["none_of_these"]) == (None, True)
        assert answer["classes"]

    def test_several_views(self, client: httpx.Client) -> None:
        files = [("image", RED), ("image", draw_picture("red", 51))]
        assert client.post("/v1/classify", files=files).json()["label"] == "red"
        expect_problem(client.post("/v1/classify", files={"negative_image": RED}), 422, "no file `image`")
        expect_problem(client.post("/v1/classify", params={"k": 101}, files={"image": RED}), 422, "k: ")
