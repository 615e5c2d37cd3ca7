"""Who started this process, as which of how many: torchrun, SLURM's srun, or the user alone.

    torchrun    TORCHELASTIC_RUN_ID; WORLD_SIZE processes, LOCAL_WORLD_SIZE per node; RANK, LOCAL_RANK
    SLURM       SLURM_NTASKS > 1 tasks on SLURM_NNODES nodes; SLURM_PROCID, SLURM_LOCALID; jobs named bash or
                interactive do not count
    neither     the engine starts the other processes of this machine and sets their LOCAL_RANK

Everything is read from the environment, before torch is imported.
"""

import os
from dataclasses import dataclass
from typing import Literal

from taildiff.errors import SpecError


@dataclass(frozen=True)
class Launcher:
    """What started all processes of this training."""

    name: Literal["torchrun", "SLURM"]
    processes: int
    """On all nodes."""
    nodes: int
    rank: int
    """0..processes-1."""
    local_rank: int
    """On this node."""

    @property
    def devices(self) -> int:
        """Processes per node; `SpecError` when the nodes have different numbers."""
        if self.processes % self.nodes:
            raise SpecError(
                f"{self.name} started {self.processes} processes on {self.nodes} nodes: "
                "each node must have the same number"
            )
        return self.processes // self.nodes


def launcher() -> Launcher | None:
    """What started this process; None for the user or the engine; `SpecError` for malformed variables."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        processes = _number("WORLD_SIZE", 1)
        nodes = _number("GROUP_WORLD_SIZE", max(1, processes // _number("LOCAL_WORLD_SIZE", processes)))
        return Launcher("torchrun", processes, nodes, _number("RANK", 0, 0), _number("LOCAL_RANK", 0, 0))
    tasks = 1 if os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive") else _number("SLURM_NTASKS", 1)
    if tasks == 1:
        return None
    nodes = _number("SLURM_NNODES", 1)
    return Launcher("SLURM", tasks, nodes, _number("SLURM_PROCID", 0, 0), _number("SLURM_LOCALID", 0, 0))


def _number(name: str, default: int, least: int = 1) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal() or int(text) < least:
        raise SpecError(f"the environment variable {name} is {text!r}, not a whole number from {least} up")
    return int(text)


def is_rank_zero() -> bool:
    """Whether this is the process that reports to the user."""
    started_by = launcher()
    return started_by.rank == 0 if started_by else is_local_rank_zero()


def is_local_rank_zero() -> bool:
    """Whether this is the first process of its node; True where the environment does not tell."""
    try:
        started_by = launcher()
    except SpecError:
        return True
    return started_by.local_rank == 0 if started_by else os.environ.get("LOCAL_RANK", "0") in ("0", "")


def devices_and_nodes(devices: int, nodes: int) -> tuple[int, int]:
    """Processes per node and nodes, from the launcher where there is one; `SpecError` where the request differs."""
    started_by = launcher()
    if started_by is None:
        if nodes > 1:
            raise SpecError(
                f"--nodes {nodes}, but no launcher started the other processes. On each node: torchrun --nnodes "
                f"{nodes} --nproc-per-node {devices} --node-rank RANK --master-addr FIRST_NODE -m taildiff train …; "
                "or srun in a SLURM job (docs/scaling.md)"
            )
        return devices, nodes
    if devices not in (1, started_by.devices) or nodes not in (1, started_by.nodes):
        raise SpecError(
            f"--devices {devices} --nodes {nodes} does not fit {started_by.name}, which started "
            f"{started_by.processes} processes, {started_by.devices} on each of {started_by.nodes} nodes: "
            f"give --devices {started_by.devices} --nodes {started_by.nodes}, or neither"
        )
    return started_by.devices, started_by.nodes
