"""What the OpenAPI document says of access: how a key is sent, and what any route may answer without one.

What may change here: wording. The checks themselves are in `guard`.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from service.access.scopes import is_shell, needed_scope
from service.problems import describe_problems

STATUSES = (401, 403, 421, 429)  # of any route that is not open to everybody
_SHELL_STATUSES = (421,)
_SCHEMES = {
    "key": {"type": "http", "scheme": "bearer", "description": "A key that `crossmatch key create` made."},
    "password": {"type": "http", "scheme": "basic", "description": "The key as the password; any user name."},
}


def describe_access(app: FastAPI) -> None:
    """Add it to the document that the application gives of itself."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        document = describe()
        if "securitySchemes" not in document.get("components", {}):
            document.setdefault("components", {})["securitySchemes"] = _SCHEMES
            for path, operations in document["paths"].items():
                for method, operation in operations.items():
                    _describe(method.upper(), path, operation)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _describe(method: str, path: str, operation: dict[str, Any]) -> None:
    shell = is_shell(method, path)
    problems = describe_problems(*(_SHELL_STATUSES if shell else STATUSES))
    for status, problem in problems.items():
        operation["responses"].setdefault(str(status), problem)
    if not shell:
        operation["security"] = [{"key": []}, {"password": []}, {}]  # `{}`: a service that asks for none
        operation["x-scope"] = str(needed_scope(method, path))
