"""Run the commands that a page shows, and write what they print below them.

    python docs/transcripts.py docs/walkthrough.md --folder work [--first 3 --last 5]

Commands are the lines that begin with `$ ` in the page's blocks; each runs in the folder, and its lines up to the next
command are replaced by what it prints, without progress and without the commands that come next. What takes longer than
ten seconds says how long. Commands resume, so an interrupted call is repeated with `--first`.
"""

import argparse
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

BLOCK = re.compile(r"^```\n(\$ .*?)^```$", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^\$ .*(?:\n(?!\$ ).*)*", re.MULTILINE)
PROGRESS = re.compile(r".*: \d+/\d+( \(.*\))?(, .*)?")
LONG_SECONDS = 10


def transcript(command: str, folder: Path) -> str:
    """The command and what it prints, as a block shows them."""
    start = time.monotonic()
    environment = "COLUMNS=118 PYTHONWARNINGS=ignore"
    done = subprocess.run(
        ["bash", "-c", f"export {environment}; {command}"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    seconds = round(time.monotonic() - start)
    text = done.stdout.replace(f"{folder.resolve()}/", "")
    return "\n".join([f"$ {command}", *shown(text), *lasted(seconds)])


def shown(text: str) -> Iterator[str]:
    """The lines of an output that a page shows."""
    for line in text.split("\nnext\n")[0].splitlines():
        if line.strip() and not PROGRESS.fullmatch(line):
            yield line.rstrip()


def lasted(seconds: int) -> Iterator[str]:
    """How long it took, if that was long."""
    if seconds >= LONG_SECONDS:
        minutes = f"{seconds // 60} min " * (seconds >= 60)
        yield f"({minutes}{seconds % 60} s)"


def renewed(page: str, folder: Path, numbers: range) -> Iterator[str]:
    """The page after each command with one of these numbers, counted from 1."""
    places = [found for block in BLOCK.finditer(page) for found in COMMAND.finditer(page, block.start(1), block.end(1))]
    moved = 0
    for number, place in enumerate(places, start=1):
        if number in numbers:
            before = place[0].rstrip("\n")
            text = transcript(before.splitlines()[0].removeprefix("$ "), folder)
            start = place.start() + moved
            page = page[:start] + text + page[start + len(before) :]
            moved += len(text) - len(before)
            yield page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("--folder", type=Path, required=True, help="where the commands run")
    parser.add_argument("--first", type=int, default=1, help="number of the first command to run")
    parser.add_argument("--last", type=int, default=1000, help="number of the last one")
    options = parser.parse_args()
    for page in renewed(
        options.page.read_text(encoding="utf-8"), options.folder, range(options.first, options.last + 1)
    ):
        options.page.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
