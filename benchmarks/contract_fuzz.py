"""Whether the service keeps to its own OpenAPI document, whatever is sent: schemathesis, with real pictures.

`python -m benchmarks.contract_fuzz` starts a service of its own over a small index of drawn pictures, and asks every
operation of the document, with what fits it and with what does not. Every check of schemathesis runs but those in
`LEFT_OUT`, each with its reason; two of ours besides: no answer names the index folder or has a stack trace in it.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
import schemathesis
from hypothesis import strategies as st
from PIL import Image
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from benchmarks.drawn_service import DrawnService, serve_drawn
from tests.tiny_model import write_tiny_bundle

SECONDS = 15.0  # that one answer may take
LEFT_OUT = {  # schemathesis's check -> why it is not run
    "positive_data_acceptance": "what fits may still hold a damaged picture, an id that names nothing or a cursor that "
    "was never given: 4xx is right for these, and no schema can say which they are",
    "missing_required_header": "no header is required of an operation",
    "ignored_auth": "the service under test is open; tests/service/access/ walks every route without and with each key",
    "object_level_authorization": "keys have scopes, not items of their own",
    "use_after_free": "needs chained calls, which tests/service/ makes",
    "ensure_resource_availability": "needs chained calls, which tests/service/ makes",
}
FORMS_LEFT_OUT = {  # of operations whose body is a form
    "negative_data_rejection": "every field of a form is text, a number too; queries and JSON bodies are checked"
}
DANGEROUS: dict[str, str] = {}  # operation -> why it is not asked
_FORMATS = {"CMYK": ("JPEG", "TIFF"), "RGB": ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")}


@dataclass
class Report:
    """What was asked and what came back."""

    asked: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)  # with a 2xx
    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


def read(served: DrawnService, path: str) -> Any:
    """A JSON document of the service."""
    with urllib.request.urlopen(served.server.url + path, timeout=SECONDS) as response:
        return json.load(response)


@st.composite
def pictures(draw: st.DrawFn) -> bytes:
    """The bytes of a file part: a real picture, one that is damaged, or anything."""
    if draw(st.integers(0, 19)) == 19:  # the rarest: Hypothesis leans to the low ones
        return draw(st.binary(max_size=2000))
    width, height = draw(st.integers(1, 64)), draw(st.integers(1, 64))
    mode = draw(st.sampled_from(["RGB", "L", "P", "RGBA", "CMYK", "1", "I;16"]))
    format_ = draw(st.sampled_from(_FORMATS.get(mode, ("PNG",))))
    colour = draw(st.integers(0, 255))
    image = Image.new("L", (width, height), colour).convert(mode) if mode != "I;16" else Image.new(mode, (9, 9), colour)
    buffer = io.BytesIO()
    image.save(buffer, format_)
    data = buffer.getvalue()
    damage = draw(st.integers(0, 19))
    if damage == 19:
        return data[: draw(st.integers(0, len(data)))]
    if damage == 18:
        raw = bytearray(data)
        for _ in range(draw(st.integers(1, 6))):
            raw[draw(st.integers(0, len(raw) - 1))] = draw(st.integers(0, 255))
        return bytes(raw)
    return data


def steer(case: Any) -> Any:
    """Most requests towards items that are there and away from cursors that were never given: else all were refused."""
    if "id" in (case.path_parameters or {}):
        case.path_parameters["id"] = case.path_parameters["id"] % 32 + 1
    query = case.query or {}
    for name in ("positive_id", "negative_id"):
        if isinstance(query.get(name), list):
            query[name] = [number % 26 + 1 for number in query[name]]
    for name in ("cursor", "crop"):
        if len(str(query.get(name, ""))) % 8:
            del query[name]
    if isinstance(case.body, dict) and isinstance(case.body.get("metadata"), str):
        case.body["metadata"] = json.dumps({"text": case.body["metadata"]})
    query.pop("min_probability", None)  # the model is not calibrated; the negative cases have it
    return case


def _keep(case: Any) -> Any:
    return case


def fuzz(served: DrawnService, examples: int, seed: int) -> Report:
    """Ask every operation `examples` times with what fits, and as often with what does not."""
    load_all_checks()
    schemathesis.openapi.format("binary", pictures())
    document = read(served, "/openapi.json")
    report = Report()
    operations: list[Any] = [
        result.ok()  # type: ignore[union-attr]
        for result in schemathesis.openapi.from_dict(document).get_all_operations()
    ]
    for operation in sorted(operations, key=lambda one: one.method == "delete"):  # last: the others want items
        name = f"{operation.method.upper()} {operation.path}"
        if name in DANGEROUS:
            continue
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                _ask(operation, mode, served, report, examples, seed)
            except hypothesis.errors.Unsatisfiable:
                continue  # an operation without parameters has nothing that does not fit
            except (
                Exception,
                BaseExceptionGroup,
            ) as error:  # what a check found, a time-out, or a connection that was cut
                report.failures.append(f"{name} ({mode.value}): {_describe(error)}")
    return report


def _ask(operation: Any, mode: GenerationMode, served: DrawnService, report: Report, examples: int, seed: int) -> None:
    form = any(kind.startswith("multipart/") for kind in operation.get_request_payload_content_types())
    names = [*LEFT_OUT, *(FORMS_LEFT_OUT if form else ())]
    left_out = [CHECKS.get_one(name) for name in names]

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples, database=None, deadline=None, derandomize=False,
        suppress_health_check=list(hypothesis.HealthCheck), print_blob=False,
    )  # fmt: skip
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode).map(steer if mode.is_positive else _keep))
    def ask(case: Any) -> None:
        report.asked[f"{operation.method.upper()} {operation.path}"] += 1
        response = case.call(base_url=served.server.url, timeout=SECONDS)
        report.statuses[response.status_code] += 1
        report.answered[f"{operation.method.upper()} {operation.path}"] += response.status_code < 300
        case.validate_response(response, excluded_checks=left_out)
        text = response.content
        assert str(served.index).encode() not in text, "the answer names the index folder"
        assert b"Traceback" not in text, "the answer has a stack trace"

    ask()


def _describe(error: BaseException) -> str:
    """All of a failure's reasons, and a call that shows it."""
    parts = [str(each) or type(each).__name__ for each in getattr(error, "exceptions", [error])]
    shown = [line[:300] for part in parts for line in part.splitlines() if line.strip()]
    notes = [note[:1500] for note in getattr(error, "__notes__", [])]
    return "\n    ".join(shown + notes)


def main() -> int:
    """Run it and print what was found; 1 where there was a failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=300, help="of each operation, and as many that do not fit")
    parser.add_argument("--seed", type=int, default=2020)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        serve_drawn(Path(folder), write_tiny_bundle(Path(folder) / "model")) as served,
    ):
        report = fuzz(served, options.examples, options.seed)
        alive = read(served, "/readyz")["status"] == "ready"
    for name, count in sorted(report.asked.items()):
        print(f"{name:40} {count:6} requests, {report.answered[name]:6} answered with 2xx")
    print("statuses:", dict(sorted(report.statuses.items())))
    for name, reason in {**LEFT_OUT, **FORMS_LEFT_OUT, **DANGEROUS}.items():
        print(f"left out: {name}: {reason}")
    for failure in report.failures:
        print(f"FAILED {failure}")
    print(f"{sum(report.asked.values())} requests, {len(report.failures)} failures, ready at the end: {alive}")
    return 1 if report.failures or not alive else 0


if __name__ == "__main__":
    sys.exit(main())
