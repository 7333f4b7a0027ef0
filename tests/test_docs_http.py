"""`docs/http-api.md` against the real application: routes, parameters, statuses, answers and the options of `serve`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from crossmatch import make_command
from service.access.description import STATUSES as ACCESS_STATUSES
from service.answers import (
    BatchAnswer,
    ClassifyAnswer,
    CompactionAnswer,
    ExamplesAnswer,
    Health,
    IndexAnswer,
    ItemAnswer,
    ItemsAnswer,
    SearchAnswer,
)
from service.app import create_app
from service.problems import STATUSES, Problem
from service.settings import Settings
from tests.documents import code_blocks, read_document, sections

TEXT = read_document("docs/http-api.md")
SECTIONS = sections(TEXT)
EXAMPLES: dict[str, type[BaseModel]] = {
    "POST /v1/search": SearchAnswer,
    "POST /v1/search/batch": BatchAnswer,
    "POST /v1/classify": ClassifyAnswer,
    "POST /v1/items": ItemAnswer,
    "GET /v1/items": ItemsAnswer,
    "GET /v1/items/{id}": ItemAnswer,
    "PATCH /v1/items/{id}": ItemAnswer,
    "GET /v1/index": IndexAnswer,
    "POST /v1/index/reload": IndexAnswer,
    "POST /v1/index/compact": CompactionAnswer,
    "GET /v1/examples": ExamplesAnswer,
    "GET /healthz": Health,
    "GET /readyz": Health,
}


@pytest.fixture(scope="module")
def operations() -> dict[str, Any]:
    """`METHOD /path` -> the operation, of the application as it is; nothing is opened."""
    paths = create_app(Settings(Path("nowhere"))).openapi()["paths"]
    return {f"{method.upper()} {path}": value for path, methods in paths.items() for method, value in methods.items()}


def documented_routes() -> set[str]:
    return {route for title in SECTIONS for route in re.findall(r"(?:GET|POST|PATCH|PUT|DELETE) /[^,\s]*", title)}


def test_every_route_is_documented_and_no_other(operations: dict[str, Any]) -> None:
    assert documented_routes() == {*operations, "GET /", "GET /docs", "GET /openapi.json"}
    table = set(re.findall(r"^\| `([A-Z]+ [^`]+)` \|", TEXT, re.MULTILINE))
    assert table == {*documented_routes(), "GET /static/..."}


def test_every_parameter_is_documented_with_its_default(operations: dict[str, Any]) -> None:
    seen = set()
    for route, operation in operations.items():
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "query":
                seen.add(parameter["name"])
                assert f"`{parameter['name']}`" in SECTIONS[route], route
                assert _write_default(parameter["schema"]) in SECTIONS[route], route
    assert {"k", "n", "min_score", "positive_id", "replace"} <= seen


def _write_default(schema: dict[str, Any]) -> str:
    """A parameter's default as the tables have it; an empty one is left out."""
    return json.dumps(schema["default"]).strip('"') if schema.get("default") not in (None, []) else ""


def test_every_example_of_the_document_has_the_real_fields(operations: dict[str, Any]) -> None:
    """What `/openapi.json` shows is what the documented answers are: whole, and of the declared type."""
    shown = {}
    for route, operation in operations.items():
        for status, response in operation["responses"].items():
            if "example" in (content := response.get("content", {}).get("application/json", {})):
                shown[route, status] = content["example"]
    models = {(route, "200"): model for route, model in EXAMPLES.items() if (route, "200") in shown}
    assert {"POST /v1/search", "PATCH /v1/items/{id}", "POST /v1/classify"} <= {route for route, _ in models}
    for key, model in {**models, ("POST /v1/items", "201"): ItemAnswer}.items():
        assert model.model_validate(shown[key], extra="forbid").model_dump() == shown[key], key


def test_every_file_of_a_form_is_documented(operations: dict[str, Any]) -> None:
    seen = set()
    for route, operation in operations.items():
        content = operation.get("requestBody", {}).get("content", {})
        for name in content.get("multipart/form-data", {}).get("schema", {}).get("properties", {}):
            seen.add(name)
            assert f"`{name}`" in SECTIONS[route], (route, name)
    assert seen == {"image", "negative_image", "key", "label", "metadata"}


def test_every_declared_error_is_named_at_its_route(operations: dict[str, Any]) -> None:
    for route, operation in operations.items():
        declared = {status for status in operation["responses"] if int(status) >= 400}
        found = re.search(r"^Errors: (.+)\.$", SECTIONS[route], re.MULTILINE)
        named = set(found[1].split(", ")) if found else set()
        assert declared - {str(status) for status in ACCESS_STATUSES} <= named, route  # those the section Access has


def test_every_error_status_is_explained_and_has_an_example() -> None:
    rows = set(re.findall(r"^\| (\d{3}) \|", SECTIONS["Errors"], re.MULTILINE))
    assert {str(status) for status in STATUSES.values()} | {"400", "405", "431", "500"} == rows
    for status in rows:
        blocks = code_blocks(SECTIONS[status], "json")
        assert blocks, status
        for block in blocks:
            problem = Problem.model_validate_json(block)
            assert problem.status == int(status)
            assert set(json.loads(block)) == set(Problem.model_fields)


@pytest.mark.parametrize(("route", "model"), EXAMPLES.items(), ids=EXAMPLES)
def test_example_answers_have_the_real_fields(route: str, model: type[BaseModel]) -> None:
    [block] = code_blocks(SECTIONS[route], "json")
    answer = json.loads(block)
    assert model.model_validate(answer, extra="forbid").model_dump() == answer  # no field is missing either
    assert "curl" in code_blocks(SECTIONS[route], "sh")[0]


def test_every_option_of_serve_is_named() -> None:
    serve = make_command().get_command(None, "serve")
    options = {option for parameter in serve.params for option in parameter.opts}
    assert {"--index", "--waiting", "--max-pixels"} <= options
    assert not [option for option in options if f"`{option}`" not in TEXT and f" {option} " not in TEXT]
