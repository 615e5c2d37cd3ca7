"""Follow quickstart.md with the wheel alone, in an empty folder, and renew the transcript at its end.

    python docs/quickstart.py [--python VENV/bin/python]

builds the wheel, installs it with the dependencies of constraints.txt into a new virtual environment, runs the page's
blocks there as one script, and removes all of it. It takes some minutes, and room for PyTorch. `--python` is that of an
environment without taildiff's sources that has the dependencies; there the wheel alone is installed.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "quickstart.md"
BLOCKS = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TRANSCRIPT = re.compile(r"^```\n\$ python quickstart\.py\n.*\Z", re.DOTALL | re.MULTILINE)


def install(place: Path, given: Path | None) -> Path:
    """The Python of an environment with the wheel, and without the source tree: a new one, unless one is given."""
    python = given or place / "venv" / "bin" / "python"
    if given is None:
        run([sys.executable, "-m", "venv", place / "venv"], place)
    run([python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", place / "dist", ROOT], place)
    (wheel,) = (place / "dist").glob("*.whl")
    how = ["-c", ROOT / "constraints.txt"] if given is None else ["--no-deps", "--force-reinstall"]
    run([python, "-m", "pip", "install", "-q", *how, wheel], place)
    return python


def run(command: list[object], folder: Path) -> str:
    """What a command prints; it sees no variable of Python's and no source tree."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(list(map(str, command)), cwd=folder, env=kept, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def transcript(python: Path, folder: Path) -> str:
    """The block with what the script prints, and how long it took."""
    folder.mkdir()
    (folder / "quickstart.py").write_text("\n".join(BLOCKS.findall(PAGE.read_text(encoding="utf-8"))), encoding="utf-8")
    start = time.monotonic()
    printed = run([python, "quickstart.py"], folder)
    seconds = time.monotonic() - start
    last = (folder / "runs" / "ccua" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    training, version = json.loads(last)["seconds"], run([python, "--version"], folder).strip()
    machine = f"{len(os.sched_getaffinity(0))} CPU cores with a load of {os.getloadavg()[1]:.0f}"
    lasted = f"{seconds:.0f} s in all, {training:.0f} of them in training; {version}, {machine}."
    return f"```\n$ python quickstart.py\n{printed}```\n\n{lasted}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, help="of an environment that has the dependencies")
    given = parser.parse_args().python
    place = Path(tempfile.mkdtemp(prefix="quickstart-"))
    try:
        text = transcript(install(place, given and given.absolute()), place / "work")
        PAGE.write_text(TRANSCRIPT.sub(lambda _: text, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
