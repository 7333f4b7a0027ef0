"""The reader of torch's old checkpoint format: what it reads, and above all what it refuses."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from index.errors import BundleFormatError
from index.torch_checkpoint import MAGIC, MAX_OPERATIONS, PROTOCOL, read_checkpoint

ORDERED_DICT = b"ccollections\nOrderedDict\n)R"
MACHINE = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}


def operations(value: object) -> bytes:
    """The pickle operations that push a value, without the header and the full stop."""
    return pickle.dumps(value, protocol=2)[2:-1]


def tensor(shape: object, strides: object, *, offset: int = 0, length: int = 6, storage: str = "FloatStorage") -> bytes:
    """The operations that torch writes for one tensor, which lies in the storage `7`."""
    persistent = b"(" + operations("storage") + b"ctorch\n" + storage.encode() + b"\n" + operations("7")
    persistent += operations("cpu") + operations(length) + b"NtQ"
    view = operations(offset) + operations(shape) + operations(strides)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + persistent + view + b"\x89" + ORDERED_DICT + b"tR"


def state_dict(*entries: bytes) -> bytes:
    """A pickle of an ordered dictionary."""
    return b"\x80\x02" + ORDERED_DICT + b"(" + b"".join(entries) + b"u."


def checkpoint(state: bytes, values: bytes | None = None, machine: object = None) -> bytes:
    """A whole file, with one storage of six float32 values where no others are given."""
    if values is None:
        values = struct.pack("<q", 6) + np.arange(6, dtype="<f4").tobytes()
    header = [pickle.dumps(part, protocol=2) for part in (MAGIC, PROTOCOL, machine or MACHINE)]
    return b"".join([*header, state, pickle.dumps(["7"], protocol=2), values])


@pytest.fixture
def refused(tmp_path: Path) -> Callable[[bytes], str]:
    """Reads bytes as a checkpoint, expects an error, and gives its line."""

    def read(data: bytes) -> str:
        path = tmp_path / "weights.pth"
        path.write_bytes(data)
        with pytest.raises(BundleFormatError) as caught:
            read_checkpoint(path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return read


def test_strides_and_offset_are_honoured(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    entries = (
        operations("plain") + tensor((2, 3), (3, 1)),
        operations("turned") + tensor((3, 2), (1, 3)),
        operations("cut") + tensor((2,), (2,), offset=3),
        operations("one") + tensor((), (), offset=5),
    )
    path.write_bytes(checkpoint(state_dict(*entries)))
    arrays = read_checkpoint(path)
    assert list(arrays) == ["plain", "turned", "cut", "one"]
    assert arrays["plain"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert arrays["turned"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert arrays["cut"].tolist() == [3, 5]
    assert arrays["one"].tolist() == 5
    assert all(array.dtype == np.float32 and array.flags.c_contiguous for array in arrays.values())


def test_counters_are_int64(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    entry = operations("n") + tensor((), (), length=1, storage="LongStorage")
    path.write_bytes(checkpoint(state_dict(entry), struct.pack("<qq", 1, 2**40)))
    array = read_checkpoint(path)["n"]
    assert array.dtype == np.int64
    assert array == 2**40


def test_no_code_runs(tmp_path: Path, refused: Callable[[bytes], str]) -> None:
    witness = tmp_path / "witness"
    call = b"\x80\x02cos\nsystem\n(" + operations(f"touch {witness}") + b"tR."
    assert "os.system" in refused(checkpoint(call))
    assert "os.system" in refused(call)
    assert not witness.exists()


@pytest.mark.parametrize(
    "name", ["builtins\neval", "torch\nHalfStorage", "torch\nload", "collections\ndeque", "numpy\nload"]
)
def test_no_other_name_resolves(refused: Callable[[bytes], str], name: str) -> None:
    state = b"\x80\x02c" + name.encode() + b"\n."
    assert name.replace("\n", ".") in refused(checkpoint(state))


def test_other_operations_are_refused(refused: Callable[[bytes], str]) -> None:
    assert "operation" in refused(checkpoint(b"\x80\x04\x8c\x02os\x8c\x06system\x93."))  # STACK_GLOBAL
    assert "operation" in refused(checkpoint(b"(S'true'\nios\nsystem\n."))  # INST


@pytest.mark.parametrize("state", [{"offset": 9**9}, (None, {"offset": 9**9})])
def test_a_tensor_can_not_be_altered_after_it_was_checked(refused: Callable[[bytes], str], state: object) -> None:
    entry = operations("w") + tensor((2, 3), (3, 1)) + operations(state) + b"b"  # BUILD
    refused(checkpoint(state_dict(entry)))


@pytest.mark.parametrize(
    "described",
    [
        tensor((2, 3), (3, 1), offset=1),  # one value beyond the storage
        tensor((7,), (1,)),
        tensor((2, 3), (3, -1)),
        tensor((2, 3), (3,)),
        tensor((2**40,), (0,)),  # a small file that asks for a large array
        tensor((-1, 6), (6, 1)),
        tensor((0,), (1,)),
        tensor((2.0, 3), (3, 1)),
        tensor([2, 3], (3, 1)),
        tensor((1,) * 40, (1,) * 40),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(refused: Callable[[bytes], str], described: bytes) -> None:
    assert "tensor" in refused(checkpoint(state_dict(operations("w") + described)))


def test_counts_that_differ_are_refused(refused: Callable[[bytes], str]) -> None:
    state = state_dict(operations("w") + tensor((2, 3), (3, 1), length=2**62))
    assert "declared" in refused(checkpoint(state))
    assert "truncated" in refused(checkpoint(state, struct.pack("<q", 2**62)))


def test_a_storage_of_two_types_is_refused(refused: Callable[[bytes], str]) -> None:
    entries = (
        operations("a") + tensor((6,), (1,), storage="LongStorage"),
        operations("b") + tensor((6,), (1,)),
    )
    assert "two ways" in refused(checkpoint(state_dict(*entries)))


def test_every_truncation_is_refused(refused: Callable[[bytes], str]) -> None:
    whole = checkpoint(state_dict(operations("w") + tensor((2, 3), (3, 1))))
    for length in range(len(whole)):
        refused(whole[:length])


def test_a_flipped_byte_is_refused_or_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    whole = checkpoint(state_dict(operations("w") + tensor((2, 3), (3, 1))))
    outcomes = set()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x41]) + whole[position + 1 :])
        try:
            outcomes.add(sum(array.size for array in read_checkpoint(path).values()) <= 6)
        except BundleFormatError:
            outcomes.add(True)
    assert outcomes == {True}


def test_depth_and_memory_are_bounded(refused: Callable[[bytes], str]) -> None:
    nested = b")" + b"\x85" * (MAX_OPERATIONS - 8)  # a key that is hashed from the inside out
    refused(checkpoint(b"\x80\x02" + ORDERED_DICT + nested + b"Ns."))
    assert "operations" in refused(checkpoint(b"\x80\x02" + b")" * (MAX_OPERATIONS + 1) + b"."))
    assert "operations" in refused(checkpoint(b"\x80\x02Nr\xff\xff\xff\xff."))  # a memo of 64 GiB


def test_other_formats_are_named(refused: Callable[[bytes], str], tmp_path: Path) -> None:
    assert "zip" in refused(b"PK\x03\x04" + bytes(100))
    assert "[training]" in refused(b"PK\x03\x04" + bytes(100))
    refused(b"")
    refused(b"not a pickle")
    assert "magic" in refused(pickle.dumps({"w": 1}, protocol=2))
    assert "little-endian" in refused(checkpoint(state_dict(), machine={"little_endian": False}))
    assert "state dict" in refused(checkpoint(b"\x80\x02]."))
    assert "state dict" in refused(checkpoint(state_dict(operations("w") + b"N")))
    with pytest.raises(BundleFormatError, match="No such file"):
        read_checkpoint(tmp_path / "absent.pth")
