"""Guard the speed of training: ratios of step times must stay within 15 % of the committed ones.

    make bench                                  # compares, in under five minutes on two cores
    python benchmarks/bench.py --update         # measures and commits the ratios of this kind of machine

Each ratio is a loop's time over taildiff's, or plain's over a method's, of one run with both sides in turns
(baseline.py), so that it hardly depends on how fast a machine is; it does depend on the vector instructions of the
processor, the threads and the precision, so there is one set of ratios for each of those. On a CPU the ratios are of
CPU seconds, which other work on the machine hardly changes. Exit code 1 when a ratio fell by more than 15 %.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from baseline import LOOPS, OURS, machine, measure

from taildiff.device import has_bf16
from taildiff.engine import Engine

COMMITTED = Path(__file__).parent / "results" / "bench.json"
TOLERANCE = 0.15
PARTS = {"mnist5k": (64, 8, 90.0), "cifar10lt": (4, 6, 110.0)}
"""Batch size, rounds, and seconds after which no further round starts."""
Ratios = Mapping[str, Mapping[str, float]]


def measured(device: torch.device) -> dict[str, dict[str, float]]:
    """By network, the ratios of this machine."""
    modes = ("float32", "bf16") if has_bf16(device) else ("float32",)
    found = {}
    for network, (batch_size, rounds, seconds) in PARTS.items():
        _, ratios = measure(network, batch_size, (*LOOPS, *OURS), modes, rounds, seconds)
        of_cpu = device.type == "cpu"
        found[network] = {name: value for name, value in ratios.items() if name.endswith("(CPU)") == of_cpu}
    return found


def compared(committed: Ratios, now: Ratios) -> tuple[list[str], bool]:
    """Lines to print, and whether a ratio fell too far."""
    lines, fell = [], False
    for network, ratios in committed.items():
        for name, was in ratios.items():
            value = now.get(network, {}).get(name)
            slower = value is None or value < (1 - TOLERANCE) * was
            fell |= slower
            lines.append(
                f"{network:10} {name:50} {was:5.2f} {value or float('nan'):5.2f}{'  SLOWER' if slower else ''}"
            )
    return lines, fell


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="write the ratios of this kind of machine")
    options = parser.parse_args()
    device = Engine().device
    key, records = machine(device), json.loads(COMMITTED.read_text()) if COMMITTED.exists() else {}
    now = measured(device)
    if options.update:
        records[key] = now
        COMMITTED.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n")
        print(f"wrote the ratios of {key} to {COMMITTED}")
        return 0
    if key not in records:
        print(f"{json.dumps(now, indent=1)}\nno ratios are committed for {key}; to add these: --update")
        return 0
    lines, fell = compared(records[key], now)
    print("\n".join([f"{key}: committed, now", *lines]))
    return int(fell)


if __name__ == "__main__":
    sys.exit(main())
