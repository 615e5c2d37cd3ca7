"""Start trainings in several processes as a user does, and compare their runs."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from taildiff.data.store import Store
from taildiff.run.layout import RunDir
from taildiff.run.weights import read_weights
from taildiff.sampling.generate import load_model
from taildiff.spec import RunSpec

LAUNCHERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT")


def environment(**more: str) -> dict[str, str]:
    """The environment of this process without launcher variables, with one thread."""
    plain = {k: v for k, v in os.environ.items() if k not in LAUNCHERS and not k.startswith(("SLURM", "TORCHELASTIC"))}
    return plain | {"OMP_NUM_THREADS": "1"} | more


def training(folder: Path, spec: RunSpec, store: Store, run: RunDir, *more: str) -> list[str]:
    """The arguments of `taildiff` that train `spec`."""
    (folder / "spec.json").write_text(spec.model_dump_json())
    return ["train", str(folder / "spec.json"), "--data", str(store.root), "--out", str(run.root), *more]


PLAIN = [sys.executable, "-m", "taildiff"]


def torchrun(*options: str) -> list[str]:
    """The command `torchrun OPTIONS -m taildiff`."""
    return [sys.executable, "-m", "torch.distributed.run", *options, "-m", "taildiff"]


def start(command: list[str], **env: str) -> subprocess.Popen[str]:
    """Start a command in the background."""
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment(**env))


def finished(*processes: subprocess.Popen[str], code: int = 0) -> list[tuple[str, str]]:
    """(stdout, stderr) of each process; fails unless all exit with `code`."""
    try:
        outputs = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert all(process.returncode == code for process in processes), outputs
    return outputs


def free_port() -> str:
    """A free port for the processes to connect at."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return str(server.getsockname()[1])


def lines(run: RunDir) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without times."""
    logged = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in ("seconds", "waiting", "crc")} for line in logged]


def close(a: Any, b: Any, rel: float) -> bool:
    """Whether two lines of metrics.jsonl are equal up to rounding."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(a[key], b[key], rel) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(close(x, y, rel) for x, y in zip(a, b, strict=True))
    return a == b if a is None or b is None else abs(a - b) <= rel * max(abs(a), abs(b), 1e-2)


def same_losses(one: RunDir, other: RunDir, rel: float = 1e-5) -> bool:
    """Whether all numbers of metrics.jsonl are equal up to rounding."""
    pairs = list(zip(lines(one), lines(other), strict=True))
    return len(pairs) > 0 and all(close(a, b, rel) for a, b in pairs)


def prediction(run: RunDir) -> torch.Tensor:
    """The averaged network's prediction for fixed noise."""
    model = load_model(run)
    draw = torch.Generator().manual_seed(0)
    shape = (6, model.facts.channels, model.facts.height, model.facts.width)
    x, s, y = torch.randn(shape, generator=draw), torch.linspace(0.05, 0.95, 6), torch.arange(6) % model.facts.classes
    with torch.no_grad():
        return model.denoiser.predict(x, s, y)


def weights(run: RunDir, kind: str = "raw") -> dict[str, torch.Tensor]:
    """The newest weights."""
    return dict(read_weights(run.weights(run.weight_steps(kind)[-1], kind))[0])


def checkpoint_bytes(run: RunDir, step: int) -> dict[str, bytes]:
    """The tensors of a checkpoint, by file."""
    return {path.name: path.read_bytes() for path in sorted(run.state(step).glob("*.safetensors"))}
