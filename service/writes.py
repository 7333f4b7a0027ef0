"""A picture and its item's fields -> a durable item: encoded on the encoder threads, written on the write thread."""

from __future__ import annotations

import errno

from index.additions import OVERTAKEN
from index.encoder import Encoder
from index.encoding import encode_picture
from index.errors import CrossmatchError, IndexReadOnlyError
from index.item_changes import NewItem
from index.searcher import Searcher
from index.types import Item
from index.writer import EncodedPicture, Outcome
from service.engine import Engine

_ATTEMPTS = 5
_UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)


async def encode(engine: Engine, data: bytes) -> EncodedPicture:
    """The picture's vector, with its copy in originals/ and its thumbnail. Raises ImageError and so on."""

    def work(encoder: Encoder, searcher: Searcher) -> EncodedPicture:
        searcher.check_model(encoder.bundle.manifest.model_id)  # else no other attempt would be by another encoder
        return encode_picture(searcher.layout, encoder, data, None)

    try:
        return await engine.run(work)
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        raise IndexReadOnlyError("the index can not be written", where=engine.settings.index, found=error) from error


async def put(engine: Engine, new: NewItem, data: bytes, picture: EncodedPicture) -> tuple[Outcome, Item]:
    """Write an encoded item; durable when this returns. Encoded again where another model answers meanwhile."""
    for _ in range(_ATTEMPTS):
        try:
            prepared = picture
            return await engine.write(lambda editor: editor.put(new, prepared))  # noqa: B023
        except OVERTAKEN:
            picture = await encode(engine, data)
    raise CrossmatchError("the index changed again and again while a picture was encoded")


def status_of_outcome(outcome: Outcome) -> int:
    """201 for an item that is new, 200 for one that was there."""
    return 201 if outcome is Outcome.ADDED else 200
