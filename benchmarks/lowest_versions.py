"""Install the lowest versions that pyproject.toml declares and run twelve commands and one mistake: one line for each.

    python benchmarks/lowest_versions.py [FOLDER] [--with NAME==VERSION …]

makes a virtual environment in FOLDER (default: a temporary one) and pins every dependency to its lower bound; `--with`
pins some otherwise, to look for a bound that works. Only torch, which is large and comes in builds for each machine, is
the one already installed beside this interpreter, and what the dependencies depend on is as new as pip finds it. The
inputs are a few images of 8 by 8 pixels. The exit code is the number of commands that failed; their output is printed.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from importlib.metadata import distribution, requires
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WITH_TORCH = re.compile(r"torch|nvidia|triton|cuda")
"""Its build for this machine consists of these packages."""
IMAGES = """
import sys, numpy as np
labels = np.repeat(np.arange(3), 20)
images = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 1), np.uint8)
np.savez(sys.argv[1], images=images, labels=labels)
"""
SMALL = "--model.channels 8 --batch-size 8 --steps 4"
COMMANDS = (
    "--help",
    "recipes",
    "data prepare npz images.npz --out store",
    "data show store",
    f"train auto-ccua --data store --out run {SMALL} --stop-at 2",
    f"train auto-ccua --data store --out run {SMALL}",
    f"train auto-ccua --data store --out cbdm {SMALL} --method cbdm",
    "sample run --out samples --per-class 2 --steps 2",
    "evaluate run --per-class 4 --steps 2 --guidance 1",
    "evaluate cbdm --per-class 4 --steps 2 --guidance 1",
    "compare run cbdm",
    "report run cbdm --out report.html",
)
MISTAKE = "train auto-ccua --data store --out other --optimizer.lr nan"
"""Refused with exit code 2 by each parser that is declared."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--with", nargs="+", default=[], dest="pins", metavar="NAME==VERSION")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        python = environment(folder, pins(options.pins))
        return failures(python, folder)


def pins(others: list[str]) -> list[str]:
    """Every dependency at its lower bound, or as `others` say; torch as installed."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    chosen = dict(line.split(">=") for line in declared)
    chosen |= {"torch": distribution("torch").version} | dict(line.split("==") for line in others)
    return [f"{name}=={version}" for name, version in chosen.items()]


def environment(folder: Path, wanted: list[str]) -> Path:
    """A virtual environment with these versions and the torch of this interpreter; its Python."""
    home = folder / "venv"
    venv.create(home, clear=True, with_pip=True)
    python = home / "bin" / "python"
    site = next(home.glob("lib/python*/site-packages"))
    (site / "torch_as_installed.pth").write_text(f"{linked_torch(folder / 'torch')}\n")
    print("installing " + " ".join(wanted), flush=True)
    for what in (wanted, ["--no-deps", ROOT]):  # `--with` may go below what is declared
        subprocess.run([python, "-m", "pip", "install", "--quiet", *what], check=True)
    return python


def linked_torch(folder: Path) -> Path:
    """A folder of links to torch and the packages of its build, outside the environment that pip changes."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {re.split(r"[^\w.-]", line)[0] for line in requires("torch") or () if "extra ==" not in line}
    for name in ["torch", *sorted(name for name in names if WITH_TORCH.match(name))]:
        found = distribution(name)
        tops = {Path(file).parts[0] for file in found.files or ()} - {"..", "__pycache__"}
        for top in tops:
            link = folder / top
            link.unlink(missing_ok=True)
            link.symlink_to(Path(str(found.locate_file(top))))
    return folder


def failures(python: Path, folder: Path) -> int:
    """Run the commands in a new folder and print a line for each; how many failed."""
    place = Path(tempfile.mkdtemp(dir=folder))
    subprocess.run([python, "-c", IMAGES, place / "images.npz"], check=True)
    failed = 0
    for command, expected in [*((line, 0) for line in COMMANDS[:-1]), (MISTAKE, 2), (COMMANDS[-1], 0)]:
        done = subprocess.run(
            [python, "-m", "taildiff", *command.split()],
            cwd=place,
            env=os.environ | {"OMP_NUM_THREADS": "1", "HOME": str(folder)},
            capture_output=True,
            text=True,
        )
        right = done.returncode == expected and "Traceback" not in done.stderr
        failed += not right
        print(f"{'ok  ' if right else 'FAIL'} taildiff {command}" + ("" if expected == 0 else " (refused)"), flush=True)
        if not right:
            print(done.stdout + done.stderr, flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
