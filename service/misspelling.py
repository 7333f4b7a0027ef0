"""The refusal of a name that nobody asked for: of a form's field, a query parameter, a member of a JSON object.

What may change here: wording. Nothing is refused here: who finds a name outside its own set calls `refuse_unknown`.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection

from service.problems import BadFormError

NO_TEXT = "what is no file goes into the address, such as ?k=10"
_SHOWN = 60  # characters of a client's own name


def refuse_unknown(what: str, name: str, known: Collection[str], where: str = "") -> BadFormError:
    """An error that names the `what` called `name`, says which are `known`, and the one that may have been meant.

    `where`: what to do if none is near.
    """
    shown = name[:_SHOWN]
    near = difflib.get_close_matches(shown, known, n=1)
    return BadFormError(
        f"there is no {what} `{shown}` here",
        expected=", ".join(f"`{each}`" for each in sorted(known)) or "none",
        remedy=f"did you mean `{near[0]}`?" if near else where or None,
    )
