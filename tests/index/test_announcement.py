"""What is about to answer is said while it is, and no longer: not by a process that was killed either."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
import threading
from pathlib import Path

from index.announcement import announcing, read_announced
from index.layout import Layout


def test_said_while_it_lasts_and_by_the_first(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert read_announced(layout) is None
    for name in ("0001-a", "0002-b"):
        with announcing(layout, name):
            assert read_announced(layout) == name
            with announcing(layout, "other"):
                assert read_announced(layout) == name
            assert read_announced(layout) == name
        assert read_announced(layout) is None


def test_a_killed_process_says_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib\nfrom index.announcement import announcing\nfrom index.layout import Layout\n"
        f"with announcing(Layout(pathlib.Path({str(tmp_path)!r})), '0001-a'):\n"
        "    print('said', flush=True)\n    time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"said\n"
        assert read_announced(Layout(tmp_path)) == "0001-a"
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    assert read_announced(Layout(tmp_path)) is None


def test_who_only_asks_keeps_nobody_from_saying_it(tmp_path: Path) -> None:
    """A service asks several times a second, and holds the lock for an instant."""
    layout = Layout(tmp_path)
    with layout.upcoming.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        letting_go = threading.Timer(0.05, lambda: fcntl.flock(file, fcntl.LOCK_UN))
        letting_go.start()
        with announcing(layout, "0001-a"):
            assert read_announced(layout) == "0001-a"
        letting_go.join()
