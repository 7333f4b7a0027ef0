"""Sick encoders are found, opened anew, and never waited for."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.bundle import Bundle, read_golden
from index.encoder import Encoder
from index.errors import BundleFormatError
from index.types import Vectors
from service import sessions as module
from service.problems import EncoderSickError
from service.sessions import Sessions
from tests.tiny_model import write_tiny_bundle


class Sick:
    """What a session gives whose weights were overwritten: another vector, or an error."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def run(self, _names: list[str], _inputs: dict[str, NDArray[np.float32]]) -> list[Vectors]:
        if self.error:
            raise self.error
        return [np.ones((1, 16), dtype=np.float32)]


def make_sick(encoder: Encoder, error: Exception | None = None) -> None:
    encoder._session = Sick(error)


def encode_golden(sessions: Sessions) -> Vectors:
    with sessions.borrow() as encoder:
        return encoder.encode_bytes(read_golden(sessions.bundle).pictures[0])


def test_a_probe_opens_sick_encoders_anew(tiny_bundle: Bundle) -> None:
    sessions = Sessions(tiny_bundle, 3)
    right = encode_golden(sessions)
    for error in (None, RuntimeError("out of memory")):
        with sessions.borrow() as one, sessions.borrow() as other:
            make_sick(one, error)
            make_sick(other, error)
        assert sessions.probe() is None
        for _ in range(6):
            assert np.array_equal(encode_golden(sessions), right)


def test_one_that_fails_at_work_is_examined_at_once(tiny_bundle: Bundle) -> None:
    sessions = Sessions(tiny_bundle, 1)
    right = encode_golden(sessions)
    with sessions.borrow() as encoder:
        make_sick(encoder, RuntimeError("bad allocation"))
    with pytest.raises(BundleFormatError):
        encode_golden(sessions)
    assert np.array_equal(encode_golden(sessions), right)
    with sessions.borrow() as encoder:
        make_sick(encoder)
    with pytest.raises(SystemExit), sessions.borrow():
        raise SystemExit
    assert np.array_equal(encode_golden(sessions), right)


def test_an_error_that_is_no_encoders_costs_nothing(tiny_bundle: Bundle) -> None:
    sessions = Sessions(tiny_bundle, 1)
    with sessions.borrow() as before:
        pass
    with pytest.raises(ZeroDivisionError), sessions.borrow():
        raise ZeroDivisionError
    with sessions.borrow() as after:
        assert after is before


def test_where_none_can_be_opened_nobody_waits_until_the_model_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.05)
    bundle = write_tiny_bundle(tmp_path / "bundle")
    sessions = Sessions(bundle, 2)
    model = bundle.model_path.read_bytes()
    with sessions.borrow() as one, sessions.borrow() as other:
        make_sick(one)
        make_sick(other)
    bundle.model_path.write_bytes(b"")
    waiting: list[str] = []

    def wait() -> None:
        try:
            encode_golden(sessions)
        except EncoderSickError as error:
            waiting.append(str(error))

    thread = threading.Thread(target=wait)
    with contextlib.suppress(SystemExit), sessions.borrow(), sessions.borrow():
        thread.start()  # none is free
        raise SystemExit  # both are examined, and lost
    thread.join(5)
    assert waiting
    reason = sessions.probe()
    assert reason is not None
    assert "2 of 2 encoders are sick" in reason
    with pytest.raises(EncoderSickError, match="no encoder gives"):
        encode_golden(sessions)
    bundle.model_path.write_bytes(model)
    assert sessions.probe() is None
    encode_golden(sessions)


def test_one_that_never_comes_back_is_said(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.02)
    sessions = Sessions(tiny_bundle, 2)
    with sessions.borrow():
        assert sessions.probe() is None
        monkeypatch.setattr(module, "_STUCK_SECONDS", 0.0)
        reason = sessions.probe()
        assert reason is not None
        assert "1 of 2 encoders are stuck" in reason
    assert sessions.probe() is None
