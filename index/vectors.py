"""`vectors.f32`: the float32 rows of a generation. Row number = picture id; the catalogue says which rows count.

Rows are written with `pwrite` and synced before the catalogue's transaction commits, and read through a map, which
processes share. What may change here: how rows are read ahead. Not: the file's bytes.
"""

from __future__ import annotations

import mmap
import os
import zlib
from pathlib import Path

import numpy as np

from index.errors import IndexDataError, VectorError
from index.types import Ids, Vectors

_SHOWN = 5  # pictures that an error names


def row_crc(row: Vectors) -> int:
    """CRC-32 of a row's bytes, as the catalogue keeps it."""
    return zlib.crc32(np.ascontiguousarray(row, dtype="<f4").tobytes())


def find_damaged(rows: Vectors, crcs: Ids) -> Ids:
    """Places (m,) of the rows (n, d) whose CRC is not the one in `crcs` (n,)."""
    found = np.fromiter((row_crc(row) for row in rows), dtype=np.int64, count=len(rows))
    return np.flatnonzero(found != crcs)


def explain_damaged(path: Path, pictures: Ids) -> IndexDataError:
    """What to raise where the rows of some pictures (n,) are not what was written."""
    return IndexDataError(
        "rows are not what was written",
        where=path,
        expected="the CRCs in the catalogue",
        found=f"others for pictures {', '.join(map(str, pictures[:_SHOWN].tolist()))}",
        remedy="run `crossmatch index verify --repair`",
    )


class VectorWriter:
    """Writes rows; one writer at a time holds the catalogue's write transaction while it does."""

    def __init__(self, path: Path, size: int) -> None:
        """`size`: d. The file is made where there is none."""
        self._size = size
        self._row_bytes = 4 * size
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)

    def write(self, ids: list[int], rows: Vectors) -> None:
        """Put `rows` (n, d) float32 at the row numbers `ids`, then sync the file. Raises VectorError."""
        data = np.ascontiguousarray(rows, dtype="<f4")
        if data.shape != (len(ids), self._size):  # rows of another size would overwrite their neighbours
            raise VectorError("the rows do not fit the file", expected=(len(ids), self._size), found=data.shape)
        start = 0
        for end in range(1, len(ids) + 1):  # neighbours go in one call
            if end == len(ids) or ids[end] != ids[end - 1] + 1:
                _write_all(self._descriptor, data[start:end].tobytes(), ids[start] * self._row_bytes)
                start = end
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


class VectorMap:
    """Reads rows through a shared map that grows with the file; safe to use from several threads."""

    def __init__(self, path: Path, size: int) -> None:
        """`size`: d."""
        self._path = path
        self._size = size
        self._rows = self._map()

    def _map(self) -> Vectors:
        try:
            with self._path.open("rb") as file:
                count = os.fstat(file.fileno()).st_size // (4 * self._size)
                if not count:
                    return np.empty((0, self._size), dtype="<f4")
                view = mmap.mmap(file.fileno(), count * 4 * self._size, access=mmap.ACCESS_READ)
        except OSError as error:
            raise IndexDataError("the vectors can not be read", where=self._path, found=error.strerror) from error
        return np.frombuffer(view, dtype="<f4").reshape(count, self._size)  # keeps the map alive

    def read(self, ids: Ids) -> Vectors:
        """(n, d) float32 copies of the rows `ids` (n,). Raises IndexDataError where the file is too short."""
        rows = self._rows
        if len(ids) and int(ids.max()) >= len(rows):
            rows = self._rows = self._map()
            if int(ids.max()) >= len(rows):
                raise IndexDataError(
                    "the file is shorter than the catalogue says",
                    where=self._path,
                    expected=f"row {int(ids.max())}",
                    found=f"{len(rows)} rows",
                    remedy="restore the index from a backup, or build it again",
                )
        return np.asarray(rows[ids], dtype=np.float32)
