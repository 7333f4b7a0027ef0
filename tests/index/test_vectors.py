"""`vectors.f32`: the bytes on disk, and reading them while they grow."""

from __future__ import annotations

import os
import threading
import zlib
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from index.errors import IndexDataError, VectorError
from index.vectors import VectorMap, VectorWriter, find_damaged, row_crc
from tests.vector_gallery import draw_rows

SIZE = 16


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the rows go."""
    return tmp_path / "vectors.f32"


def write(path: Path, ids: list[int], seed: int = 0) -> None:
    with closing(VectorWriter(path, SIZE)) as writer:
        writer.write(ids, draw_rows(len(ids), seed))


def test_rows_are_little_endian_float32_at_their_numbers(path: Path) -> None:
    rows = draw_rows(5)
    with closing(VectorWriter(path, SIZE)) as writer:
        writer.write([1, 2, 5, 6, 9], rows)
    data = path.read_bytes()
    assert len(data) == 10 * SIZE * 4
    for number, row in zip([1, 2, 5, 6, 9], rows, strict=True):
        assert data[number * 64 : (number + 1) * 64] == row.astype("<f4").tobytes()
    assert not any(data[:64] + data[3 * 64 : 5 * 64] + data[7 * 64 : 9 * 64])


def test_crc_is_of_the_bytes_on_disk(path: Path) -> None:
    row = draw_rows(1)[0]
    with closing(VectorWriter(path, SIZE)) as writer:
        writer.write([0], row[None])
    assert row_crc(row) == zlib.crc32(path.read_bytes())
    assert row_crc(np.repeat(row, 2)[::2]) == row_crc(row)  # a view with gaps


def test_opening_again_keeps_what_is_there(path: Path) -> None:
    write(path, [0, 1, 2], seed=1)
    write(path, [1], seed=2)
    rows = VectorMap(path, SIZE).read(np.arange(3))
    np.testing.assert_array_equal(rows[[0, 2]], draw_rows(3, 1)[[0, 2]])
    np.testing.assert_array_equal(rows[1], draw_rows(1, 2)[0])


def test_written_means_synced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: sizes.append(os.fstat(descriptor).st_size))
    write(path, [0, 3])
    assert sizes == [4 * SIZE * 4]  # once, after the last row


def test_a_short_write_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: pwrite(descriptor, data[:13], offset))
    write(path, [0, 1, 4])
    np.testing.assert_array_equal(VectorMap(path, SIZE).read(np.array([0, 1, 4])), draw_rows(3))


def test_reads_in_the_order_asked_and_gives_copies(path: Path) -> None:
    write(path, list(range(4)))
    vectors = VectorMap(path, SIZE)
    rows = vectors.read(np.array([3, 0, 3]))
    np.testing.assert_array_equal(rows, draw_rows(4)[[3, 0, 3]])
    rows[:] = 7.0
    np.testing.assert_array_equal(vectors.read(np.arange(4)), draw_rows(4))


def test_a_map_grows_with_its_file(path: Path) -> None:
    path.touch()
    vectors = VectorMap(path, SIZE)
    assert vectors.read(np.empty(0, dtype=np.int64)).shape == (0, SIZE)
    write(path, [0, 1])
    np.testing.assert_array_equal(vectors.read(np.array([1])), draw_rows(2)[1:])
    write(path, [2], seed=5)
    np.testing.assert_array_equal(vectors.read(np.array([2, 0])), np.stack([draw_rows(1, 5)[0], draw_rows(2)[0]]))


def test_too_short_a_file_is_named(path: Path) -> None:
    write(path, list(range(4)))
    os.truncate(path, 3 * SIZE * 4 + 10)  # half a row is no row
    with pytest.raises(IndexDataError) as caught:
        VectorMap(path, SIZE).read(np.array([1, 3]))
    assert str(caught.value) == (
        f"{path}: the file is shorter than the catalogue says (expected row 3, found 3 rows); "
        "restore the index from a backup, or build it again"
    )


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(IndexDataError, match=r"vectors\.f32: the vectors can not be read \(found No such file"):
        VectorMap(path, SIZE)


@pytest.mark.parametrize("shape", [(2, 15), (2, 17), (1, 16), (3, 16), (32,)])
def test_rows_of_another_shape_are_refused(path: Path, shape: tuple[int, ...]) -> None:
    """They would overwrite their neighbours."""
    write(path, [0, 1, 2])
    with closing(VectorWriter(path, SIZE)) as writer, pytest.raises(VectorError, match="do not fit the file"):
        writer.write([0, 1], np.ones(shape, dtype=np.float32))
    np.testing.assert_array_equal(VectorMap(path, SIZE).read(np.arange(3)), draw_rows(3))


def test_damaged_rows_are_found() -> None:
    rows = draw_rows(5)
    crcs = np.array([row_crc(row) for row in rows])
    assert find_damaged(rows, crcs).tolist() == []
    for number in (1, 4):
        rows[number, 15] = np.nextafter(rows[number, 15], np.float32(2))  # one bit
    assert find_damaged(rows, crcs).tolist() == [1, 4]
    assert find_damaged(rows[:0], crcs[:0]).tolist() == []


def test_threads_read_while_the_file_grows(path: Path) -> None:
    path.touch()
    vectors = VectorMap(path, SIZE)
    expected = draw_rows(200)
    written = 0
    wrong: list[int] = []

    def read() -> None:
        while (known := written) < len(expected):
            rows = vectors.read(np.arange(known))
            if not np.array_equal(rows, expected[:known]):
                wrong.append(known)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    with closing(VectorWriter(path, SIZE)) as writer:
        for number, row in enumerate(expected):
            writer.write([number], row[None])
            written = number + 1
    for thread in threads:
        thread.join()
    assert wrong == []
