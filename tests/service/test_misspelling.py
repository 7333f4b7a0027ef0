"""Names that no route has, over real HTTP: each is refused by its name, and changes nothing."""

from __future__ import annotations

import httpx
import pytest

from service.misspelling import refuse_unknown
from tests.drawn_pictures import draw_picture
from tests.service.live_service import expect_problem

RED = {"image": ("red.png", draw_picture("red"))}


def list_routes(client: httpx.Client) -> list[tuple[str, str]]:
    """Every method and path under /v1, ids filled in."""
    paths = client.get("/openapi.json").json()["paths"]
    return [
        (method.upper(), path.replace("{id}", "1"))
        for path, methods in paths.items()
        for method in methods
        if path.startswith("/v1/")
    ]


def test_every_route_refuses_a_parameter_that_it_does_not_have(client: httpx.Client) -> None:
    routes = list_routes(client)
    assert len(routes) >= 15
    for method, path in routes:
        response = client.request(method, path, params={"colour": "red"})
        expect_problem(response, 422, "no query parameter `colour`")
    assert client.get("/v1/index").json()["size"] == 24  # the first item was not removed either


def test_every_parameter_that_the_document_names_is_known(client: httpx.Client) -> None:
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "query":
                    response = client.request(method, path.replace("{id}", "1"), params={parameter["name"]: ""})
                    assert "no query parameter" not in response.text, (path, parameter["name"])


@pytest.mark.parametrize(("query", "meant"), [("?kk=3", "`k`"), ("?k=3&min_scor=1", "`min_score`"), ("?K=3", "")])
def test_a_misspelt_parameter_is_named_with_the_one_that_is_near(client: httpx.Client, query: str, meant: str) -> None:
    detail = expect_problem(client.post(f"/v1/search{query}", files=RED), 422, "`exclude_id`, `k`, `min_probability`")
    assert detail.endswith(f"did you mean {meant}?") is bool(meant)


def test_a_misspelt_field_of_an_item_is_refused_and_nothing_added(client: httpx.Client) -> None:
    response = client.post("/v1/items", data={"key": "misspelt", "lable": "x"}, files=RED)
    expect_problem(response, 422, "no text field `lable`", "did you mean `label`?")
    assert client.get("/v1/items", params={"key": "misspelt"}).json()["items"] == []


@pytest.mark.parametrize("path", ["/v1/search", "/v1/classify", "/v1/search/batch"])
def test_a_parameter_in_the_form_is_not_passed_over(client: httpx.Client, path: str) -> None:
    expect_problem(client.post(path, data={"k": "2"}, files=RED), 422, "`k`", "into the address, such as ?k=10")


def test_probes_may_say_what_they_like(client: httpx.Client) -> None:
    for path in ("/healthz", "/readyz", "/"):
        assert client.get(path, params={"at": "17"}).status_code == 200


def test_a_long_name_is_cut_and_an_empty_one_is_named() -> None:
    assert len(str(refuse_unknown("text field", "x" * 10_000, ("label",)))) < 200
    assert "no text field ``" in str(refuse_unknown("text field", "", ("label",)))
