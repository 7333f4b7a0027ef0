"""Query parameters and forms that several routes share, and how OpenAPI describes them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Path, Query

from index import queries
from index.queries import MAX_K, Bounds

MAX_VIEWS = 16  # files of one side of a search
MAX_IDS = 64  # items of one side of a search
MAX_EXCLUDED = 1000

ItemNumber = Annotated[int, Query(ge=1, lt=2**63)]
ItemId = Annotated[int, Path(ge=1, lt=2**63, description="The item's id.")]
K = Annotated[int, Query(ge=1, le=MAX_K, description="How many items to return.")]
CursorText = Annotated[
    str | None,
    Query(max_length=100, description="`next_cursor` of the page before; the rest of the request as it was."),
]
Replace = Annotated[bool, Query(description="Whether other content under a key that is there is replaced.")]


async def read_bounds(
    min_score: Annotated[float | None, Query(ge=-1, le=1, description="Leave out items below this cosine.")] = None,
    min_probability: Annotated[
        float | None,
        Query(ge=0, le=1, description="Leave out less probable items; 422 where the model is not calibrated."),
    ] = None,
    exclude_id: Annotated[
        list[ItemNumber], Query(max_length=MAX_EXCLUDED, description="Items to leave out; repeatable.")
    ] = [],  # noqa: B006
) -> Bounds:
    """What may be among the results."""
    return Bounds(min_score, frozenset(exclude_id), min_probability)


BoundsDependency = Annotated[Bounds, Depends(read_bounds)]


async def read_query(
    positive_id: Annotated[
        list[ItemNumber], Query(max_length=MAX_IDS, description="Items that results should look like; repeatable.")
    ] = [],  # noqa: B006
    negative_id: Annotated[
        list[ItemNumber], Query(max_length=MAX_IDS, description="Items that results should not look like; repeatable.")
    ] = [],  # noqa: B006
    strategy: Annotated[
        queries.Strategy, Query(description="How several pictures and items are put together.")
    ] = queries.Strategy.AVERAGE,
) -> queries.Query:
    """The items that a search names."""
    return queries.Query(positive_ids=tuple(positive_id), negative_ids=tuple(negative_id), strategy=strategy)


QueryDependency = Annotated[queries.Query, Depends(read_query)]

_PICTURE = "A JPEG, PNG, WebP, GIF (first frame), BMP, TIFF or AVIF file."


def describe_form(properties: dict[str, Any], required: list[str], *, optional: bool = False) -> dict[str, Any]:
    """`openapi_extra` of a route whose body is a form."""
    schema = {"type": "object", "required": required, "properties": properties, "additionalProperties": False}
    return {"requestBody": {"required": not optional, "content": {"multipart/form-data": {"schema": schema}}}}


def describe_file(text: str = _PICTURE) -> dict[str, Any]:
    """One file of a form."""
    return {"type": "string", "format": "binary", "description": text}


def describe_files(text: str, most: int, least: int = 0) -> dict[str, Any]:
    """Several files of one name."""
    return {"type": "array", "items": describe_file(), "minItems": least, "maxItems": most, "description": text}
