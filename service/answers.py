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


class ProblemAnswer(BaseModel):
    """An RFC 9457 problem document, as one answer among several."""

    type: str
    title: str
    status: int
    detail: str


class OneAnswer(BaseModel):
    """What came of one query of a batch: an answer, or a problem."""

    status: int = Field(description="200, or the problem's status")
    answer: SearchAnswer | None
    problem: ProblemAnswer | None


class BatchAnswer(BaseModel):
    """An answer for each query, in their order."""

    answers: list[OneAnswer]
    took_ms: float = Field(description="milliseconds from the request to this answer, the upload included")


class ClassAnswer(BaseModel):
    """One label that neighbours have."""

    label: str
    votes: int = Field(description="neighbours with this label")
    share: float = Field(description="of the weighted votes, 0 to 1")
    probability: float | None = Field(description="that it is the picture's class; null without a calibration")
    score: float = Field(description="cosine with its nearest neighbour")
    item: int = Field(description="the id of that neighbour")


class ClassifyAnswer(BaseModel):
    """The labels of what looks like a picture, most likely first."""

    label: str | None = Field(description="of the first class; null: none of these, or no neighbour has a label")
    none_of_these: bool | None = Field(description="whether no class is probable enough; null without a calibration")
    classes: list[ClassAnswer]
    index: IndexState
    took_ms: float


class ItemAnswer(BaseModel):
    """One item."""

    id: int
    key: str
    label: str | None
    metadata: dict[str, Any]
    version: int = Field(description="counts the item's changes; its ETag")
    image_url: str
    thumbnail_url: str


class ItemsAnswer(BaseModel):
    """A page of items, by ascending id."""

    items: list[ItemAnswer]
    next_cursor: str | None = Field(description="what `cursor` is for the next page; null: there are no more")


class BulkLine(BaseModel):
    """What came of one picture of a stream: a line of JSON."""

    number: int | None = Field(description="the place of the picture, from 1 on; null: the body broke off here")
    key: str | None
    status: int = Field(description="201 new, 200 there already or replaced, or the problem's status")
    id: int | None
    version: int | None
    problem: ProblemAnswer | None


class CompactionAnswer(BaseModel):
    """What a compaction left."""

    pictures: int = Field(description="in the snapshot")
    recall: float | None = Field(description="measured recall@10 of the new snapshot; null where nothing is indexed")
    freed: int = Field(description="bytes on disk")
    cleared: list[str] = Field(description="names of generations that were cleared away")


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
