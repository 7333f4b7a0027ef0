"""A `.pth` file of torch's old format -> numpy arrays, without torch and without trusting the file.

The format: five pickles (magic number, protocol, machine, state dict, storage keys), then for each key an int64 count
and the raw values; `torch.save(..., _use_new_zipfile_serialization=False)` writes it. A pickle can call anything, so
its operations are checked against a list before it runs, and three names resolve, none of them to code of torch's.
What may change here: more storage types. What may not: a name resolving to anything that acts.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.errors import BundleFormatError

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
MAX_BYTES = 2**30  # of a file; EfficientNet-Lite4, the largest of its family, has 52 MB
# A state dict of 300 tensors takes 11,000 operations. Tuples nested 30,000 deep are hashed within 2 MiB of stack.
MAX_OPERATIONS = 30_000
_STATE_DICT_OPERATIONS = """
PROTO STOP MARK GLOBAL REDUCE BUILD BINPERSID BINPUT LONG_BINPUT BINGET LONG_BINGET EMPTY_TUPLE TUPLE TUPLE1 TUPLE2
TUPLE3 EMPTY_DICT SETITEM SETITEMS EMPTY_LIST APPEND APPENDS BINUNICODE BININT BININT1 BININT2 LONG1 NONE NEWTRUE
NEWFALSE
"""
_OPERATIONS = frozenset(_STATE_DICT_OPERATIONS.split())
_STORAGES = {"FloatStorage": "<f4", "LongStorage": "<i8"}  # to numpy's names of the types


class _MalformedError(Exception):
    """What is wrong with the file; becomes a BundleFormatError that names it."""


class _Storage(NamedTuple):  # a tuple, like `_Tensor`, since a pickle can alter any object that has a __dict__
    """A run of values that tensors are cut from, as the pickle declares it."""

    key: str
    dtype: str
    length: int  # in values


class _Tensor(NamedTuple):
    """A view of a storage; offset and strides count values, not bytes."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_checkpoint(path: Path) -> dict[str, NDArray[Any]]:
    """Name -> array (float32 or int64, C order) of a state dict in torch's old format, in the file's order.

    Raises BundleFormatError where the file can not be read, has another format, is truncated, or wants to run code.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _MalformedError(f"more than {MAX_BYTES} bytes")
        return _read(io.BytesIO(path.read_bytes()))
    except OSError as error:
        raise BundleFormatError("the checkpoint can not be read", where=path, found=error.strerror or error) from error
    except _MalformedError as error:
        raise BundleFormatError(
            "not a checkpoint that can be read without torch",
            where=path,
            expected="a state dict in torch's old format, of float32 and int64 tensors",
            found=error,
            remedy="install the weights again, or export with the [training] extra",
        ) from error


def _read(file: io.BytesIO) -> dict[str, NDArray[Any]]:
    if file.getvalue()[:4] == b"PK\x03\x04":
        raise _MalformedError("a zip archive, torch's newer format")
    _read_header(file)
    tensors = _read_state_dict(file)
    storages = _read_storages(file, {tensor.storage.key: tensor.storage for tensor in tensors.values()})
    return {name: _cut_tensor(name, tensor, storages[tensor.storage.key]) for name, tensor in tensors.items()}


def _read_header(file: io.BytesIO) -> None:
    if _load(file) != MAGIC:
        raise _MalformedError("another magic number")
    if _load(file) != PROTOCOL:
        raise _MalformedError("another protocol")
    machine = _load(file)
    if type(machine) is not dict or machine.get("little_endian") is not True:
        raise _MalformedError("values that are not little-endian")


def _read_state_dict(file: io.BytesIO) -> dict[str, _Tensor]:
    state = _load(file)
    if not isinstance(state, dict) or not state:
        raise _MalformedError("no state dict")
    tensors = dict(dict.items(state))  # the class's own `items`: the pickle may have given the object another
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise _MalformedError("an entry of the state dict that is no named tensor")
    return tensors


def _load(file: io.BytesIO) -> Any:
    """The next pickle. Whatever goes wrong in one that was not written by torch is a _MalformedError."""
    start = file.tell()
    try:
        _check_operations(file)
        file.seek(start)
        return _RestrictedUnpickler(file).load()
    except _MalformedError:
        raise
    except Exception as error:  # unpickling hostile bytes raises nearly every built-in type
        raise _MalformedError(f"a broken pickle: {error}"[:200]) from error


def _check_operations(file: io.BytesIO) -> None:
    """Refuse operations that torch does not write, and those that would make the unpickler take much memory."""
    for number, (operation, argument, _) in enumerate(pickletools.genops(file)):
        if operation.name not in _OPERATIONS:
            raise _MalformedError(f"the pickle operation {operation.name}, which a state dict does not need")
        far = operation.name == "LONG_BINPUT" and int(argument or 0) > MAX_OPERATIONS
        if far or number >= MAX_OPERATIONS:
            raise _MalformedError(f"more than {MAX_OPERATIONS} pickle operations")


class _RestrictedUnpickler(pickle.Unpickler):
    """Lets three names through: an ordered dictionary, a tensor's and a storage's description."""

    def find_class(self, module: str, name: str) -> Any:
        """Nothing here runs torch's code, and nothing else resolves."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor_reader()
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise _MalformedError(f"the name {module}.{name}, which a state dict does not need")

    def persistent_load(self, pid: Any) -> _Storage:
        """('storage', type, key, device, count, None) -> its description; the values come after the pickles."""
        match pid:
            case ("storage", str(dtype), str(key), str(), int(count), None) if dtype in _STORAGES.values():
                return _Storage(key, dtype, count)
        raise _MalformedError("a storage that is described in another way")


def _tensor_reader() -> Callable[..., _Tensor]:
    """A new function each time: a pickle can set attributes on what it is given, and these must die with it."""

    def read_tensor(*arguments: Any) -> _Tensor:
        match arguments:
            case (_Storage() as storage, int(offset), tuple(shape), tuple(strides), bool(), *_):
                return _checked(_Tensor(storage, offset, shape, strides))
        raise _MalformedError("a tensor that is described in another way")

    return read_tensor


def _checked(tensor: _Tensor) -> _Tensor:
    numbers = (tensor.offset, *tensor.shape, *tensor.strides)
    if len(tensor.shape) != len(tensor.strides) or len(tensor.shape) > 8:
        raise _MalformedError("a tensor whose shape and strides do not fit together")
    if not all(isinstance(number, int) and 0 <= number < MAX_BYTES for number in numbers):
        raise _MalformedError("a tensor with a shape, stride or offset out of range")
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    # The second bound is for strides of 0, which would make a large array from a small file.
    if 0 in tensor.shape or last >= tensor.storage.length or math.prod(tensor.shape) > tensor.storage.length:
        raise _MalformedError("a tensor that is empty or reaches beyond its storage")
    return tensor


def _read_storages(file: io.BytesIO, declared: dict[str, _Storage]) -> dict[str, NDArray[Any]]:
    keys = _load(file)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or set(keys) != set(declared):
        raise _MalformedError("storages that are not the ones the tensors name")
    return {key: _read_storage(file, declared[key]) for key in keys}


def _read_storage(file: io.BytesIO, storage: _Storage) -> NDArray[Any]:
    """(count,) of the storage's type."""
    count = int.from_bytes(file.read(8), "little")
    if count != storage.length:
        raise _MalformedError(f"a storage of {count} values where {storage.length} are declared")
    size = count * np.dtype(storage.dtype).itemsize
    data = file.read(min(size, MAX_BYTES))
    if len(data) < size:
        raise _MalformedError("a truncated file")
    return np.frombuffer(data, storage.dtype)


def _cut_tensor(name: str, tensor: _Tensor, storage: NDArray[Any]) -> NDArray[Any]:
    """The tensor's values in C order: convolutions are often stored channels-last, which only the strides tell."""
    if storage.dtype != np.dtype(tensor.storage.dtype) or len(storage) != tensor.storage.length:
        raise _MalformedError(f"a storage of {name[:80]} that is declared in two ways")
    steps = [step * storage.itemsize for step in tensor.strides]
    view = np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, steps, writeable=False)
    return np.array(view, order="C")
