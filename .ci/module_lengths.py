"""Fail if a module has grown past 400 lines: by then it holds two ideas."""

from __future__ import annotations

import sys
from pathlib import Path

LONGEST = 400
FOLDERS = ("index", "training", "service", "benchmarks", "tests", "docs", ".ci")

root = Path(__file__).resolve().parent.parent
modules = [*root.glob("*.py"), *(path for folder in FOLDERS for path in (root / folder).rglob("*.py"))]
long = {path: lines for path in modules if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST}
for path, lines in sorted(long.items()):
    sys.stderr.write(f"{path.relative_to(root)}: {lines} lines (expected at most {LONGEST}); split it\n")
sys.exit(bool(long))
