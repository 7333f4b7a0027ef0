"""A source of pictures -> a file of their vectors, without an index.

What may change here: how many rows are held in memory. Not: that a file which is no picture never ends it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from index.encoder import Encoder
from index.encoder_pool import EncoderPool
from index.encoding import SkippedPicture, explain_skip, hash_content
from index.errors import ImageError, SourceError, VectorError
from index.images import read_bytes
from index.parquet import ROWS
from index.sources import Source, SourcePicture
from index.types import Vectors
from index.vector_files import VectorRecord, VectorSink, create_vector_file

OnProgress = Callable[[int, int], None]  # done, total
_Row = tuple[VectorRecord, Vectors]


@dataclass(frozen=True)
class EmbedReport:
    """What was written."""

    embedded: int
    skipped: tuple[SkippedPicture, ...]


def embed_source(source: Source, pool: EncoderPool, output: Path, on_progress: OnProgress | None = None) -> EmbedReport:
    """Encode every picture of a source into a new Parquet or npy file, in the source's order.

    Raises UsageError for an `output` that exists or ends otherwise, SourceError if not one file is a picture.
    """
    manifest = pool.bundle.manifest
    rows: list[_Row] = []
    skipped: list[SkippedPicture] = []
    with create_vector_file(output, manifest.model_id, manifest.embedding_size) as sink:
        for done, found in enumerate(pool.map(_embed, source.pictures), start=1):
            if isinstance(found, SkippedPicture):
                skipped.append(found)
            else:
                rows.append(found)
            if len(rows) == ROWS or done == len(source.pictures):
                _write(sink, rows)
                rows = []
            if on_progress:
                on_progress(done, len(source.pictures))
        if len(skipped) == len(source.pictures):
            raise SourceError(
                f"not one of {len(source.pictures)} files is a picture", where=source.name, found=skipped[0].reason
            )
    return EmbedReport(len(source.pictures) - len(skipped), tuple(skipped))


def _embed(encoder: Encoder, picture: SourcePicture) -> _Row | SkippedPicture:
    try:
        data = read_bytes(picture.path, encoder.limits)
        vector = encoder.encode_bytes(data)
    except (ImageError, VectorError) as error:
        return explain_skip(picture.key, error)
    return VectorRecord(picture.key, picture.label, dict(picture.metadata), hash_content(data)), vector


def _write(sink: VectorSink, rows: list[_Row]) -> None:
    if rows:
        sink.write([record for record, _ in rows], np.stack([vector for _, vector in rows]))
