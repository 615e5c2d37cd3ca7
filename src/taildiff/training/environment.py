"""The environment of a run, as run.json records it: versions, hardware, commit."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from taildiff.data.latents import LatentStore
from taildiff.engine import Engine
from taildiff.objectives.custom import source_hash
from taildiff.run.info import FORMAT
from taildiff.spec import RunSpec
from taildiff.training.request import TrainingRequest


def describe(request: TrainingRequest, engine: Engine) -> dict[str, Any]:
    """The fields of run.json, without `start_from` and the checksum."""
    store = request.store
    latents = {"path": str(store.root.resolve()), "hash": store.info.hash} if isinstance(store, LatentStore) else None
    pixels = store.info.pixels_path if isinstance(store, LatentStore) else str(store.root.resolve())
    return {
        "format": FORMAT,
        "spec": request.spec.model_dump(mode="json"),
        "facts": store.facts.model_dump(mode="json"),
        "store": {"path": pixels, "hash": store.meta.hash},
        "latents": latents,
        "split_hash": request.split.hash,
        "command": [word.encode(errors="replace").decode() for word in request.command],  # file names may be any bytes
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **machine(engine.device),
        **({"custom_sha256": source_hash(place)} if (place := custom_place(request.spec)) else {}),
    }


def custom_place(spec: RunSpec) -> str | None:
    """MODULE:CLASS of the user's own term, where it is enabled."""
    return spec.objective.custom.term if "custom" in spec.objective.terms else None


def machine(device: torch.device) -> dict[str, Any]:
    """Versions, hardware and commit."""
    packages = ("taildiff", "diffusers", "lightning-fabric", "numpy", "safetensors")
    versions = {"python": platform.python_version(), "torch": str(torch.__version__)}  # with its build, such as +cu130
    return {
        "versions": versions | {name: version(name) for name in packages},
        "hardware": {
            "cpu": _cpu_name(),
            "threads": torch.get_num_threads(),
            "device": device.type,
            "accelerator": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
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
    """The commit of the source tree that taildiff runs from; None for an installed package."""
    source = Path(__file__).parent
    try:
        result = subprocess.run(["git", "rev-parse", "HEAD"], cwd=source, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None if result.returncode == 0 else None
