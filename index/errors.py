"""Every error that Crossmatch raises on purpose, in one tree.

    CrossmatchError                 something failed: exit code 1
     |- UsageError                  called wrongly: exit code 2
     |   |- SourceError             a folder, manifest or data set that can not be read as one
     |   |- KeyTakenError           the key is another item's, or has other content
     |   |- ItemChangedError        the item is not at the version that was named
     |   |- CursorError             a text that is no cursor, or another search's
     |   |- CursorExpiredError      a cursor of a generation that answers no more
     |   `- IndexExistsError        building where an index already is
     |- RefusedError                refused by the gate: exit code 3
     |- ImageError                  bytes that are no picture we accept
     |   |- ImageTooLargeError      too many bytes or pixels
     |   |- UnsupportedImageError   a format or mode that we do not read
     |   `- BrokenImageError        empty, truncated or corrupt
     |- VectorError                 a vector that is not finite, has no length, or the wrong size
     |- BundleError                 a model bundle that is missing a part, or is not what it says
     |   |- BundleFormatError       missing files, unknown format version, fields that do not fit
     |   |- BundleDigestError       a file that is not the one the manifest names
     |   `- GoldenMismatchError     the model runs, and gives other vectors than it did
     `- IndexDataError              an index folder that is missing, damaged or of another format
         |- ItemNotFoundError       no such item
         |- OriginalMissingError    an item's picture is no longer where it was indexed, or is another one now
         |   `- OriginalClearedError  a picture's copy was cleared away before the write that needed it
         |- ModelMismatchError      an index and a model that do not belong together
         |   `- GenerationChangedError  another model's generation became the active one while a picture was encoded
         |- IndexReadOnlyError      a write to a folder that can not be written
         |- IndexBusyError          another writer held the index for too long
         `- IndexFullError          there is no room on the disk for what was to be written

A message is one line: what is wrong, where, what was expected, what was found, what to do. Which HTTP status an
error becomes is the service's business (`service.problems`), and its alone.
"""

from __future__ import annotations

from typing import Self


class CrossmatchError(Exception):
    """Root of the tree. `str(error)` is the whole line for a user."""

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        expected: object = None,
        found: object = None,
        remedy: str | None = None,
    ) -> None:
        """`what` is wrong, `where` (a path, a key, a line), `expected` against `found`, and the `remedy`."""
        self.what = what
        self.where = None if where is None else str(where)
        self.expected = None if expected is None else str(expected)
        self.found = None if found is None else str(found)
        self.remedy = remedy
        super().__init__(self._line())

    @property
    def reason(self) -> str:
        """The line without the place, for a report that names it, or a reader who may not know it."""
        return str(self).removeprefix(f"{self.where}: ") if self.where else str(self)

    def at(self, where: object) -> Self:
        """The same error with a place: whoever decodes bytes does not know which file they came from."""
        return type(self)(self.what, where=where, expected=self.expected, found=self.found, remedy=self.remedy)

    def _line(self) -> str:
        line = f"{self.where}: {self.what}" if self.where else self.what
        facts = [
            f"{name} {value}"
            for name, value in (("expected", self.expected), ("found", self.found))
            if value is not None
        ]
        if facts:
            line += f" ({', '.join(facts)})"
        if self.remedy:
            line += f"; {self.remedy}"
        # A file name that is not UTF-8 reaches us with lone surrogates, which no terminal, log or JSON file takes.
        return " ".join(line.split()).encode("utf-8", "backslashreplace").decode()


class UsageError(CrossmatchError):
    """Called wrongly."""

    exit_code = 2


class SourceError(UsageError):
    """A folder, manifest or data set that can not be read as one."""


class KeyTakenError(UsageError):
    """The key is another item's, or has other content."""


class ItemChangedError(UsageError):
    """The item is not at the version that was named."""


class CursorError(UsageError):
    """A text that is no cursor, or another search's."""


class CursorExpiredError(UsageError):
    """A cursor of a generation that answers no more."""


class IndexExistsError(UsageError):
    """Building where an index already is."""


class RefusedError(CrossmatchError):
    """Refused by the gate."""

    exit_code = 3


class ImageError(CrossmatchError):
    """Bytes that are no picture we accept."""


class ImageTooLargeError(ImageError):
    """Too many bytes or pixels."""


class UnsupportedImageError(ImageError):
    """A format or mode that we do not read."""


class BrokenImageError(ImageError):
    """Empty, truncated or corrupt."""


class VectorError(CrossmatchError):
    """A vector that is not finite, has no length, or the wrong size."""


class BundleError(CrossmatchError):
    """A model bundle that is missing a part, or is not what it says."""


class BundleFormatError(BundleError):
    """Missing files, unknown format version, fields that do not fit."""


class BundleDigestError(BundleError):
    """A file that is not the one the manifest names."""


class GoldenMismatchError(BundleError):
    """The model runs, and gives other vectors than it did."""


class IndexDataError(CrossmatchError):
    """An index folder that is missing, damaged or of another format."""


class ItemNotFoundError(IndexDataError):
    """No such item."""


class OriginalMissingError(IndexDataError):
    """An item's picture is no longer where it was indexed, or is another one now."""


class OriginalClearedError(OriginalMissingError):
    """A picture's copy was cleared away before the write that needed it."""


class ModelMismatchError(IndexDataError):
    """An index and a model that do not belong together."""


class GenerationChangedError(ModelMismatchError):
    """Another model's generation became the active one while a picture was encoded."""


class IndexReadOnlyError(IndexDataError):
    """A write to a folder that can not be written."""


class IndexBusyError(IndexDataError):
    """Another writer held the index for too long."""


class IndexFullError(IndexDataError):
    """There is no room on the disk for what was to be written."""
