"""The short parts of `make soak`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
def test_killed_runs_end_bitwise_equal_to_an_undisturbed_one():
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "soak.py"), "--kills", "10"], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"kills by SIGKILL +10\n", done.stdout)
    equal = re.search(r"bitwise equal +(\d+) of (\d+)\n", done.stdout)
    assert equal
    assert equal[1] == equal[2] != "0"


@pytest.mark.slow
def test_killed_and_concurrent_verbs_leave_what_undisturbed_ones_leave():
    command = [sys.executable, str(BENCHMARKS / "soak_verbs.py"), "--kills", "10", "--pairs", "5", "--jobs", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "faults: 0;" in done.stdout
