"""The compose files as an engine would read them: variables replaced, one laid over the other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
BASE = ROOT / "docker-compose.yml"
PUBLIC = ROOT / "docker-compose.public.yml"
_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def list_variables(path: Path) -> dict[str, str]:
    """Each variable of a file and how it is taken: `-` has a default, `?` is demanded, empty is neither."""
    return {name: kind for name, kind, _ in _VARIABLE.findall(path.read_text(encoding="utf-8"))}


def interpolate(path: Path, values: Mapping[str, str] | None = None) -> str:
    """A file's text with its variables replaced, demanded ones by `given` unless they are in `values`."""

    def replace(found: re.Match[str]) -> str:
        name, kind, rest = found.groups()
        return (values or {}).get(name, rest if kind == "-" else "given")

    return _VARIABLE.sub(replace, path.read_text(encoding="utf-8"))


def read_services(path: Path, values: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The services of one file, by name."""
    services: dict[str, Any] = yaml.safe_load(interpolate(path, values))["services"]
    return services
