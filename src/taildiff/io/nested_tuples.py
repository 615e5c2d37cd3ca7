"""Refuse pickles whose tuples would take forever to hash: n tuples that hold the previous one twice have 2^n items."""

import pickletools
from collections.abc import Iterable
from pathlib import Path
from typing import IO
from zipfile import ZipFile, is_zipfile

MOST = 1_000_000
"""Items of one tuple, those of the tuples in it included."""
_LEGACY_PICKLES = 4  # of files from before torch 1.6: magic number, protocol, platform, content


def check_checkpoint(path: Path) -> None:
    """`ValueError` if a file of `torch.save` holds such tuples; other faults are left to its reader."""
    if not is_zipfile(path):
        with path.open("rb") as file:
            for _ in range(_LEGACY_PICKLES):
                check_pickle(file)
        return
    with ZipFile(path) as archive:
        for name in archive.namelist():
            if name.rpartition("/")[2] == "data.pkl":
                with archive.open(name) as file:
                    check_pickle(file)


def check_pickle(file: IO[bytes]) -> None:
    """Follow one pickle's stack, knowing of each value only how many items hashing it would visit."""
    stack: list[int] = []
    marks: list[int] = []
    memo: dict[object, int] = {}
    for opcode, argument, _ in pickletools.genops(file):
        name = opcode.name
        if name == "MARK":
            marks.append(len(stack))
        elif "PUT" in name or name == "MEMOIZE":
            memo[len(memo) if argument is None else argument] = stack[-1] if stack else 1
        elif "GET" in name:
            stack.append(memo.get(argument, 1))
        else:
            _step(opcode, stack, marks)


def _step(opcode: pickletools.OpcodeInfo, stack: list[int], marks: list[int]) -> None:
    before, after = opcode.stack_before, opcode.stack_after
    if pickletools.markobject in before:
        start = marks.pop() if marks else 0
        start -= before.index(pickletools.markobject)  # what lies below the mark is taken, too
    else:
        start = len(stack) - len(before)
    taken = stack[max(0, start) :]
    del stack[max(0, start) :]
    kind = after[0] if after else None
    holds = opcode.name.startswith("TUPLE") or kind is pickletools.anyobject
    stack.extend([_bounded(taken) if holds else 1] * len(after))


def _bounded(items: Iterable[int]) -> int:
    count = 1 + sum(items)
    if count > MOST:
        raise ValueError(f"it nests tuples to more than {MOST:,} items")
    return count
