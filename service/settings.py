"""What a service is told when it starts. Each field is an option of `crossmatch serve`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from index.errors import UsageError
from index.images import ImageLimits
from service.access.policy import Access
from service.batching import Batching

_MOST_ATTRIBUTION = 1000  # characters


@dataclass(frozen=True)
class Settings:
    """Everything that decides how one service behaves."""

    index: Path
    threads: int | None = None  # encoder threads; None: one a core
    waiting: int = 64  # searches that may wait or run at once; beyond that: 429
    writes_waiting: int = 16  # writes that may wait or run at once, likewise
    deadline_seconds: float = 10.0  # that a request may wait for a thread before it is refused; what runs is finished
    upload_seconds: float = 60.0  # that one body may take to come in
    probe_seconds: float = 10.0  # between two looks at whether each encoder still gives the right vector
    housekeeping_seconds: float = 5.0  # between looks at whether enough has changed for a new snapshot
    limits: ImageLimits = field(default_factory=ImageLimits)  # of one picture
    batching: Batching = field(default_factory=Batching)  # on an accelerator
    access: Access = field(default_factory=Access)  # who may ask
    attribution: str | None = None  # shown on the page, for pictures whose licence asks for it


def read_attribution(path: Path) -> str | None:
    """What a text file asks the page to say of the pictures, as one line; None where there is no such file.

    Raises UsageError where it is no short text.
    """
    if not path.exists():
        return None
    try:
        text = " ".join(path.read_text(encoding="utf-8").split())
    except (UnicodeDecodeError, OSError) as error:
        raise UsageError("can not be read as text", where=path, expected="a file in UTF-8", found=error) from error
    if len(text) > _MOST_ATTRIBUTION:
        expected = f"at most {_MOST_ATTRIBUTION} characters"
        raise UsageError("too long for the page", where=path, expected=expected, found=f"{len(text)}")
    return text or None
