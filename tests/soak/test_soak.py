"""The short part of `make soak`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "soak.py"


@pytest.mark.slow
def test_runs_that_are_killed_at_random_end_as_if_nothing_had_happened():
    done = subprocess.run([sys.executable, str(SCRIPT), "--kills", "10"], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"kills by SIGKILL +10\n", done.stdout)
    found = re.search(r"bitwise equal +(\d+) of (\d+)\n", done.stdout)
    assert found
    assert found[1] == found[2] != "0"
