"""UCL at the size of SiT-S/2 tokens and batch 256, where one tensor [B, B-1, D] of the released form has 25.7 GB.

The fast test takes an eighth of the features, and allows an eighth of the memory.
"""

import subprocess
import sys

import pytest

SCRIPT = """
import sys, torch
from pathlib import Path
from taildiff import losses

def peak():  # of this process alone, which ru_maxrss is not after an exec
    return next(int(line.split()[1]) / 1024 for line in Path("/proc/self/status").open() if line.startswith("VmHWM"))

torch.set_num_threads(1)
losses.unsupervised_contrastive(torch.ones(2, 8).requires_grad_()).sum().backward()  # what is loaded once
features = torch.randn(256, int(sys.argv[1])).requires_grad_()
before = peak()
losses.unsupervised_contrastive(features).mean().backward()
print(features.grad.abs().max().item() > 0, peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")
@pytest.mark.parametrize("part", [8, pytest.param(1, marks=pytest.mark.slow)])
def test_ucl_needs_less_than_a_gibibyte_beyond_its_input(part: int):
    command = [sys.executable, "-c", SCRIPT, str(98_304 // part)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    trained, mebibytes = done.stdout.split()
    assert trained == "True"
    assert 96 / part < float(mebibytes) < 1024 / part  # at least the gradient, or nothing was measured
