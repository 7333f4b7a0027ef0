"""A few power cuts from one seed, with all syncs and with one left out; `python -m benchmarks.power_cuts` has 1,000."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.faults.gallery import Gallery
from tests.faults.power_cuts import CutPlan, run_cuts
from tests.faults.worker import MISSING_SYNCS

pytestmark = pytest.mark.usefixtures("tracing")


@pytest.fixture(scope="module")
def tracing() -> None:
    """Skips where a process may not be traced."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    if subprocess.run(["strace", "-f", "--seccomp-bpf", "-o", "/dev/null", "true"], check=False).returncode:
        pytest.skip("strace may not trace here")


def test_no_power_cut_loses_what_was_acknowledged(gallery_folder: Path, gallery: Gallery) -> None:
    report = run_cuts(gallery_folder, gallery, CutPlan(12, 1, operations=14), lambda: None)
    assert report.findings == []
    assert report.calls["SQLite's log", "write"] > 100
    assert report.calls["FAISS's snapshot", "write"] > 0
    assert report.calls["rows", "sync"] > 0


@pytest.mark.parametrize("which", MISSING_SYNCS)
def test_with_a_sync_left_out_it_does(which: str, gallery_folder: Path, gallery: Gallery) -> None:
    plan = CutPlan(10, 2, operations=6, without=which)
    assert run_cuts(gallery_folder, gallery, plan, lambda: None).findings
