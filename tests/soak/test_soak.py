"""The short part of `make soak`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "soak.py"


@pytest.mark.slow
def test_killed_runs_end_bitwise_equal_to_an_undisturbed_one():
    done = subprocess.run([sys.executable, str(SCRIPT), "--kills", "10"], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"kills by SIGKILL +10\n", done.stdout)
    equal = re.search(r"bitwise equal +(\d+) of (\d+)\n", done.stdout)
    assert equal
    assert equal[1] == equal[2] != "0"
