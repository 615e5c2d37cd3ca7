"""The Hub's library in a process that has imported nothing else."""

import subprocess
import sys


def test_its_messages_are_silenced_and_come_back():
    code = (
        "import logging, huggingface_hub, taildiff.io.hub as own\n"
        "with own.quiet(huggingface_hub): print(logging.getLogger('huggingface_hub').level)\n"
        "print(logging.getLogger('huggingface_hub').level)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    inside, after = done.stdout.split()
    assert (inside, done.stderr) == ("50", "")
    assert after != "50"
