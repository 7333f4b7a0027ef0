"""What `verify` finds: faults, and notes of what is harmless; each may name the cure that `repair` knows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any


class Cure(Enum):
    """How something derived is made again, in the order in which it is done."""

    INDEXES = "the catalogue's indexes built again"
    MANIFEST = "the manifest written again"
    ADOPTION = "the bundle's newer manifest taken over"
    ROW = "the row encoded again"
    SNAPSHOT = "the snapshot sealed again"
    THUMBNAIL = "the thumbnail drawn again"
    CURRENT = "CURRENT written again"
    RESERVE = "the reserve made again"


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be."""

    kind: str  # "fault", or "note" for what harms nothing: what a killed write left, or a source's own changes
    what: str
    where: str  # a path
    cure: Cure | None = None
    generation: int = 0  # that the cure is for
    picture: int = 0  # that the cure is for
    healed: bool = False

    @property
    def remains(self) -> bool:
        """Whether it is a fault that is still there."""
        return self.kind == "fault" and not self.healed

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {"kind": self.kind, "what": self.what, "where": self.where, "healed": self.healed}


def fault(what: str, where: object, cure: Cure | None = None, generation: int = 0, picture: int = 0) -> Finding:
    """Something that is wrong."""
    return Finding("fault", what, str(where), cure, generation, picture)


def note(what: str, where: object, cure: Cure | None = None, generation: int = 0, picture: int = 0) -> Finding:
    """Something that harms nothing."""
    return Finding("note", what, str(where), cure, generation, picture)
