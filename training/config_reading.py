"""YAML and `section.key=value` words -> a checked `Config`, or one line that names what does not fit.

What may change here: the syntax of overrides. What a key means, and its range, is `config`'s business.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from index.errors import UsageError
from training.config import Config

SECTIONS: Mapping[str, type] = get_type_hints(Config)
# YAML 1.1 takes 5e-4 for text; YAML 1.2 and everybody else takes it for a number.
_NUMBER = re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")


def read_config(path: Path, overrides: Iterable[str] = ()) -> Config:
    """The configuration in a YAML file, with `section.key=value` words laid over it.

    Raises UsageError with the file or word, the key, and the nearest right key for one that does not exist.
    """
    values = _read_yaml(path)
    _check_keys(values, path)
    for word in overrides:
        section, key, value = _parse_override(word)
        values.setdefault(section, {})[key] = value
    return build_config(values, path)


def build_config(values: Mapping[str, Any], where: object) -> Config:
    """A checked configuration from nested mappings. Raises UsageError."""
    _check_keys(values, where)
    try:  # through JSON, so that lists may stand for tuples while numbers in quotes stay an error
        return TypeAdapter(Config).validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        raise _explain(error, where) from error


def _explain(error: ValidationError, where: object) -> UsageError:
    """The first thing that does not fit."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "value_error":  # of our own __post_init__, which names the values and the remedy
        return UsageError(f"`{key}` does not fit: {first['ctx']['error']}", where=where)
    missing = first["type"] == "missing"
    return UsageError(
        f"`{key}` is not set"
        if missing
        else f"`{key}` does not fit: {first['msg'].replace('Input should be', 'it must be')}",
        where=where,
        found=None if missing else first["input"],
        remedy=f"set it in the file, or say {key}=VALUE after it",
    )


def _read_yaml(path: Path) -> dict[str, dict[str, Any]]:
    yaml = _yaml()
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _loader())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError("can not be read", where=path, expected="a YAML file", found=reason) from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UsageError("holds no sections", where=path, expected="`section:` lines", found=type(values).__name__)
    # An empty section says the same as none.
    return {str(section): {} if keys is None else keys for section, keys in values.items()}


def _check_keys(values: Mapping[str, Any], where: object) -> None:
    for section, keys in values.items():
        if section not in SECTIONS:
            raise _unknown(f"section `{section}`", section, SECTIONS, where)
        if not isinstance(keys, Mapping):
            raise UsageError(f"section `{section}` holds no keys", where=where, found=keys)
        known = [f"{section}.{item.name}" for item in dataclasses.fields(SECTIONS[section])]
        for key in keys:
            if f"{section}.{key}" not in known:
                raise _unknown(f"key `{section}.{key}`", f"{section}.{key}", all_keys(), where)


def all_keys() -> list[str]:
    """Every `section.key`, in order."""
    return [f"{name}.{item.name}" for name, section in SECTIONS.items() for item in dataclasses.fields(section)]


def _unknown(what: str, word: str, known: Iterable[str], where: object) -> UsageError:
    nearest = difflib.get_close_matches(word, list(known), n=1, cutoff=0.0)
    return UsageError(f"no such {what}", where=where, remedy=f"did you mean `{nearest[0]}`?")


def _parse_override(word: str) -> tuple[str, str, Any]:
    name, equals, text = word.partition("=")
    section, dot, key = name.partition(".")
    if not (equals and dot and section and key):
        raise UsageError("not an override", where=word, expected="section.key=value", found=word)
    _check_keys({section: {key: None}}, word)
    yaml = _yaml()
    try:
        return section, key, yaml.load(text, _loader())
    except yaml.YAMLError as error:
        raise UsageError("the value can not be read as YAML", where=word, found=error) from error


def _yaml() -> Any:
    try:
        return importlib.import_module("yaml")  # only in [training]
    except ImportError as error:
        raise missing_extra("reading a configuration", "PyYAML") from error


def _loader() -> Any:
    safe = _yaml().SafeLoader
    loader: Any = type("Loader", (safe,), {})  # a class of its own, so that SafeLoader stays as it is
    loader.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+0123456789"))
    return loader


def missing_extra(what: str, library: str) -> UsageError:
    """The error of a machine without a training library that `what` needs."""
    return UsageError(f"{what} needs {library}", remedy="run `make install`, or pip install '.[training]' in the clone")
