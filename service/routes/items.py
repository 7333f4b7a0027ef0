"""`/v1/items`: added, read, listed, changed and removed, one by one or many in one stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse, Response

from index.cursors import decode_place, encode_place
from index.searcher import Searcher
from index.types import Item
from service import examples
from service.answers import BulkLine, Example, ExamplesAnswer, ItemAnswer, ItemsAnswer
from service.bodies import make_new_item, read_change, read_versions, tag_of
from service.bulk import BulkAnswer
from service.parts import Part, iterate_parts
from service.problems import BadFormError, describe_problems
from service.routes import EngineDependency
from service.routes.parameters import CursorText, ItemId, Replace, describe_file, describe_files, describe_form
from service.routes.strict import StrictRoute
from service.uploads import FormRule, bulk_limits, read_form
from service.writes import encode, put, status_of_outcome

router = APIRouter(prefix="/v1", tags=["items"], route_class=StrictRoute)

_FIELDS: dict[str, Any] = {
    "key": {"type": "string", "minLength": 1, "maxLength": 1000, "description": "The item's name, unique."},
    "label": {"type": "string", "maxLength": 1000, "description": "Its class."},
    "metadata": {"type": "string", "description": "A JSON object.", "example": '{"price": 3}'},
}
_FORM = describe_form({"image": describe_file(), **_FIELDS}, ["image", "key"])
_BULK = describe_form(
    {**_FIELDS, "image": describe_files("Any number; the fields before each are its own.", 1_000_000, 1)}, ["image"]
)
_ITEM = FormRule({"image": 1}, texts=frozenset(_FIELDS), field_bytes=64 * 2**10)
_CHANGE = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "key": {"type": "string", "minLength": 1, "maxLength": 1000},
                        "label": {"type": ["string", "null"], "maxLength": 1000},
                        "metadata": {"type": ["object", "null"], "description": "An RFC 7396 merge patch."},
                    },
                    "example": {"label": "apple", "metadata": {"price": 3, "old": None}},
                }
            }
            for kind in ("application/json", "application/merge-patch+json")
        },
    }
}
_TAG = {"ETag": {"description": "The item's version.", "schema": {"type": "string"}}}
_LOCATION = {"Location": {"description": "Where the item is.", "schema": {"type": "string"}}}
IfMatch = Annotated[
    str | None, Header(description="The `ETag` that the item has to have, else 412; without it, any.", max_length=1000)
]
IfNoneMatch = Annotated[str | None, Header(description="An `ETag` that is known already: 304.", max_length=1000)]


def _show_item(status: int, text: str, *more: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    shown = examples.show(status, examples.ITEM, text)
    shown[status]["headers"] = {name: value for one in (_TAG, *more) for name, value in one.items()}
    return shown


def describe_item(item: Item) -> dict[str, Any]:
    """An item as the routes answer with it."""
    return {
        "id": item.id,
        "key": item.key,
        "label": item.label,
        "metadata": item.metadata,
        "version": item.version,
        "image_url": f"/v1/items/{item.id}/image",
        "thumbnail_url": f"/v1/items/{item.id}/thumbnail",
    }


def _answer_item(item: Item, status: int = 200) -> JSONResponse:
    headers = {"ETag": tag_of(item.version), "Cache-Control": "private, no-cache"}
    if status == 201:
        headers["Location"] = f"/v1/items/{item.id}"
    return JSONResponse(describe_item(item), status, headers)


_LINE = BulkLine.model_json_schema(ref_template="#/components/schemas/{model}")
_LINE.pop("$defs")  # they are among the document's components, too


@router.post(
    "/items",
    status_code=201,
    response_model=ItemAnswer,
    responses={
        **_show_item(201, "It is new, and durable.", _LOCATION),
        **_show_item(200, "It was there like this, or was replaced."),
        **describe_problems(403, 408, 409, 413, 415, 422, 429, 503, 507),
    },
    openapi_extra=_FORM,
    summary="Add an item",
)
async def add_item(request: Request, engine: EngineDependency, replace: Replace = False) -> JSONResponse:
    """The same key and content again is 200; other content under the key is 409, unless `replace` is said."""
    form = await read_form(request, _ITEM, engine.settings)
    new = make_new_item(form.field("key"), form.field("label"), form.field("metadata"), replace=replace)
    [data] = form.pictures("image")
    outcome, item = await put(engine, new, data, await encode(engine, data))
    return _answer_item(item, status_of_outcome(outcome))


@router.post(
    "/items/batch",
    response_class=Response,
    responses={
        200: {
            "description": "A line for each picture, as soon as it is durable.",
            "content": {"application/x-ndjson": {"schema": _LINE, "example": examples.ADDED}},
        },
        **describe_problems(408, 413, 415, 422, 429, 503),
    },
    openapi_extra=_BULK,
    summary="Add many items in one stream",
)
async def add_items(request: Request, engine: EngineDependency, replace: Replace = False) -> Response:
    """For each item the fields `key` (else the file's name), `label`, `metadata`, and then the file `image`."""
    limits = bulk_limits(engine.settings)
    parts = iterate_parts(request, limits)
    first = await anext(parts, None)  # what can be refused as a whole is, before the answer begins
    if first is None:
        raise BadFormError("there is no file `image` in the form", expected="one for each item", found="no part")

    async def all_parts() -> AsyncIterator[Part]:
        yield first
        async for part in parts:
            yield part

    return BulkAnswer(engine, all_parts(), replace=replace)


@router.get(
    "/items",
    response_model=ItemsAnswer,
    responses={**examples.show(200, examples.ITEMS), **describe_problems(422, 503)},
    summary="List the items",
)
async def list_items(
    engine: EngineDependency,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many at most.")] = 100,
    cursor: CursorText = None,
    key: Annotated[str | None, Query(min_length=1, max_length=1000, description="The one item of this key.")] = None,
) -> Response:
    """By ascending id, from the cursor on."""
    after = decode_place(cursor) if cursor is not None else 0

    def read(searcher: Searcher) -> list[Item]:
        if key is None:
            return searcher.list_items(after, limit + 1)
        item = searcher.find_item(key)
        return [item] if item is not None and item.id > after else []

    async def answer() -> Response:
        items = await engine.ask(read)
        more = encode_place(items[limit - 1].id) if len(items) > limit else None
        return JSONResponse({"items": [describe_item(item) for item in items[:limit]], "next_cursor": more})

    return await engine.lists.answer(answer)


@router.get(
    "/items/{id}",
    response_model=ItemAnswer,
    responses={
        **_show_item(200, "The item."),
        304: {"description": "Not modified."},
        **describe_problems(404, 422, 503),
    },
    summary="An item",
)
async def read_item(id: ItemId, engine: EngineDependency, if_none_match: IfNoneMatch = None) -> Response:  # noqa: A002
    """Its fields; the `ETag` is its version."""
    item = await engine.ask(lambda searcher: searcher.item(id))
    if tag_of(item.version) in [each.strip().removeprefix("W/") for each in (if_none_match or "").split(",")]:
        return Response(status_code=304, headers={"ETag": tag_of(item.version), "Cache-Control": "private, no-cache"})
    return _answer_item(item)


@router.patch(
    "/items/{id}",
    response_model=ItemAnswer,
    responses={
        **_show_item(200, "The item as it is now, durable."),
        **describe_problems(403, 404, 409, 412, 413, 415, 422, 429, 503, 507),
    },
    openapi_extra=_CHANGE,
    summary="Change an item's key, label or metadata",
)
async def change_item(
    id: ItemId,  # noqa: A002
    request: Request,
    engine: EngineDependency,
    if_match: IfMatch = None,
) -> JSONResponse:
    """What is not in the body stays; `label: null` takes it away; `metadata` is merged, null taking a member away."""
    change = await read_change(request)
    versions = read_versions(if_match)
    return _answer_item(await engine.write(lambda editor: editor.change(id, change, versions)))


@router.delete(
    "/items/{id}",
    status_code=204,
    responses={204: {"description": "It is gone, durably."}, **describe_problems(403, 404, 412, 422, 429, 503, 507)},
    summary="Remove an item",
)
async def remove_item(id: ItemId, engine: EngineDependency, if_match: IfMatch = None) -> Response:  # noqa: A002
    """No search finds it any more."""
    versions = read_versions(if_match)
    await engine.write(lambda editor: editor.drop(id, versions))
    return Response(status_code=204)


@router.get("/examples", responses=describe_problems(422, 503), summary="A few items to begin with")
async def list_examples(
    engine: EngineDependency, n: Annotated[int, Query(ge=1, le=100, description="How many at most.")] = 12
) -> ExamplesAnswer:
    """Items spread evenly over the index."""
    items = await engine.ask(lambda searcher: searcher.sample_items(n))
    return ExamplesAnswer(items=[Example(id=item.id, key=item.key, label=item.label) for item in items])
