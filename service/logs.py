"""What the service writes to standard error: a line an event, as text or as JSON, with the request's id.

What may change here: the shape of a line. Not: that no picture, key, address's query or file of a user gets into one.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import StrEnum

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
FIELDS = "fields"  # the attribute of a log record that holds what a program may want to read by itself


class LogFormat(StrEnum):
    """How a line looks."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """From which importance on a line is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class TextFormatter(logging.Formatter):
    """For people: one line, and below it a stack trace where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        request = REQUEST_ID.get()
        line = f"{_time(record)} {record.levelname.lower()} {_one_line(record.getMessage())}"
        line += f" [{request}]" if request else ""
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """For programs: one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        entry: dict[str, object] = {"time": _time(record), "level": record.levelname.lower(), "logger": record.name}
        entry |= {"message": record.getMessage()}
        if (request := REQUEST_ID.get()) is not None:
            entry["request_id"] = request
        entry |= getattr(record, FIELDS, {})
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=True, default=str)  # ASCII: whatever a terminal or collector takes


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _one_line(text: str) -> str:
    """A message without line ends and control characters, which could make one line look like two."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


@contextmanager
def writing_logs(format_: LogFormat, level: LogLevel) -> Iterator[None]:
    """Write our events from this level on, and other libraries' from warnings on, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if format_ is LogFormat.JSON else TextFormatter())
    levels: dict[str, int | str] = {"": logging.WARNING, "service": level.upper(), "index": level.upper()}
    former = {name: logging.getLogger(name).level for name in levels}
    logging.getLogger().addHandler(handler)
    _set_levels(levels)
    try:
        yield
    finally:
        _set_levels(former)
        logging.getLogger().removeHandler(handler)


def _set_levels(levels: Mapping[str, int | str]) -> None:
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
