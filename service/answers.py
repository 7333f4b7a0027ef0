"""The JSON documents that the routes answer with, as OpenAPI shows them. Their fields are a contract."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class ResultAnswer(BaseModel):
    """One item that a search found."""

    id: int
    key: str = Field(description="the item's name, given by whoever indexed it")
    label: str | None
    score: float = Field(description="cosine with the query, -1 to 1")
    probability: float | None = Field(description="that it is of the query's class; null without a calibration")
    metadata: dict[str, Any]
    image_url: str


class IndexState(BaseModel):
    """What gave an answer."""

    generation: str
    model: str = Field(description="the model id")
    size: int = Field(description="items")


class SearchAnswer(BaseModel):
    """The items nearest to a picture, best first."""

    results: list[ResultAnswer]
    index: IndexState
    next_cursor: str | None = Field(description="what `cursor` is for the next page; null: there are no more")
    took_ms: float = Field(description="milliseconds from the picture's bytes to this answer")


class Building(BaseModel):
    """How far a build that is going on has come."""

    done: int
    total: int


class IndexAnswer(IndexState):
    """What the index says of itself."""

    recall: float | None = Field(description="measured recall@10 of the sealed snapshot; null before there is one")
    building: Building | None = Field(description="null while nothing is being indexed")
    attribution: str | None = Field(description="whom the pictures' licence asks to name")


class Example(BaseModel):
    """An item of the index."""

    id: int
    key: str
    label: str | None


class ExamplesAnswer(BaseModel):
    """Items spread evenly over the index."""

    items: list[Example]


class Health(BaseModel):
    """A yes."""

    status: str
