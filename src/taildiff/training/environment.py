"""run.json: what was run, on what, by which versions."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from taildiff.data.latents import LatentStore
from taildiff.data.longtail import Split
from taildiff.data.store import Store
from taildiff.engine import Engine
from taildiff.spec import RunSpec


def describe(
    spec: RunSpec, store: Store | LatentStore, split: Split, command: list[str], engine: Engine
) -> dict[str, Any]:
    """run.json."""
    latents = {"path": str(store.root.resolve()), "hash": store.info.hash} if isinstance(store, LatentStore) else None
    pixels = store.info.pixels_path if isinstance(store, LatentStore) else str(store.root.resolve())
    packages = ("taildiff", "torch", "diffusers", "lightning-fabric", "numpy", "safetensors")
    gpu = torch.cuda.get_device_name(engine.device) if engine.device.type == "cuda" else None
    return {
        "format": 2,
        "spec": spec.model_dump(mode="json"),
        "facts": store.facts.model_dump(mode="json"),
        "store": {"path": pixels, "hash": store.meta.hash},
        "latents": latents,
        "split_hash": split.hash,
        "command": [word.encode(errors="replace").decode() for word in command],  # file names need not be text
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "hardware": {
            "cpu": _cpu_name(),
            "threads": torch.get_num_threads(),
            "device": engine.device.type,
            "accelerator": gpu,
        },
        "commit": _commit(),
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str | None:
    """The commit of the source tree that taildiff runs from, if it is one."""
    here = Path(__file__).parent
    try:
        result = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None if result.returncode == 0 else None
