"""`POST /v1/search` over HTTP: the answer's fields, and that they are the command line's to the last digit."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from index.bundle import read_bundle
from index.encoder import Encoder
from index.layout import Layout
from index.searcher import Searcher, search_picture
from tests.drawn_pictures import draw_picture
from tests.service.live_service import LiveService, expect_problem, run_crossmatch, search


def test_the_answer_has_exactly_the_contracts_fields(client: httpx.Client, live_service: LiveService) -> None:
    response = client.post("/v1/search?k=3", files={"image": draw_picture("green", 9)})
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert list(answer) == ["results", "index", "next_cursor", "took_ms"]
    assert [list(result) for result in answer["results"]] == [
        ["id", "key", "label", "score", "probability", "metadata", "image_url"]
    ] * 3
    assert answer["took_ms"] > 0
    bundle = read_bundle(Layout(live_service.index).model(answer["index"]["generation"]))
    assert answer["index"] == {
        "generation": (live_service.index / "CURRENT").read_text().strip(),
        "model": bundle.manifest.model_id,
        "size": len(live_service.pictures),
    }


def test_the_nearest_of_an_indexed_picture_is_itself(client: httpx.Client, live_service: LiveService) -> None:
    for picture in live_service.pictures:
        first, *others = search(client, picture.read_bytes(), 4)["results"]
        assert first["key"] == f"{picture.parent.name}/{picture.name}"
        assert first["score"] == pytest.approx(1.0, abs=1e-6)
        assert {result["label"] for result in (first, *others)} == {picture.parent.name}
        assert first["image_url"] == f"/v1/items/{first['id']}/image"
        assert client.get(first["image_url"]).content == picture.read_bytes()


def test_it_answers_what_the_function_behind_the_command_line_answers(
    client: httpx.Client, live_service: LiveService, tiny_encoder: Encoder
) -> None:
    unseen = [draw_picture(label, number, "JPEG") for label in ("red", "white") for number in range(20, 24)]
    with Searcher(live_service.index) as searcher:
        for data in [*unseen, *(picture.read_bytes() for picture in live_service.pictures)]:
            expected = search_picture(searcher, tiny_encoder, data, 24).to_json(0.0)
            del expected["took_ms"]
            assert search(client, data, 24) == json.loads(json.dumps(expected))


def test_it_answers_what_the_command_answers(client: httpx.Client, live_service: LiveService) -> None:
    picture = live_service.pictures[5]
    code, out, err = run_crossmatch("search", picture, "--index", live_service.index, "-k", "7", "--json")
    assert (code, err) == (0, "")
    answer = json.loads(out)
    assert answer.pop("took_ms") > 0
    assert answer == search(client, picture.read_bytes(), 7)


@pytest.mark.parametrize(("asked", "given"), [("1", 1), ("5", 5), ("24", 24), ("1000", 24), (None, 10)])
def test_k_items_are_returned_and_never_more_than_there_are(
    client: httpx.Client, asked: str | None, given: int
) -> None:
    parameters = {} if asked is None else {"k": asked}
    answer = client.post("/v1/search", params=parameters, files={"image": draw_picture("blue")}).json()
    scores = [result["score"] for result in answer["results"]]
    assert len(scores) == given
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("k", ["0", "-1", "1001", "x", "", "1e3", "1.5", "9" * 5000, "\x00", "٣", "nan", "5 or 1"])
def test_a_bad_k_is_refused_and_named(client: httpx.Client, k: str) -> None:
    response = client.post("/v1/search", params={"k": k}, files={"image": draw_picture("blue")})
    assert len(expect_problem(response, 422, "k: ")) < 400


def test_sixteen_threads_get_the_answers_of_one(client: httpx.Client, live_service: LiveService) -> None:
    pictures = [path.read_bytes() for path in live_service.pictures]
    alone = [search(client, data, 24) for data in pictures]
    with ThreadPoolExecutor(16) as threads:
        together = list(threads.map(lambda data: search(client, data, 24), pictures * 6))
    assert together == alone * 6
