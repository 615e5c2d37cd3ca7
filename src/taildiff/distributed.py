"""Who started this process, as which of how many: torchrun, SLURM's srun, or the user alone.

    torchrun    TORCHELASTIC_RUN_ID; WORLD_SIZE processes, LOCAL_WORLD_SIZE on each node; RANK, LOCAL_RANK
    SLURM       SLURM_NTASKS > 1 tasks on SLURM_NNODES nodes; SLURM_PROCID, SLURM_LOCALID; not in a job that is named
                bash or interactive
    neither     the engine starts the other processes of this machine, and tells them LOCAL_RANK

Read from the environment alone, so that it is known before torch is imported.
"""

import os
from dataclasses import dataclass
from typing import Literal

from taildiff.errors import SpecError
from taildiff.spec import RunSpec, parse


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
    """On the own node."""

    @property
    def devices(self) -> int:
        """Processes a node; `SpecError` when they are not equally many on each."""
        if self.processes % self.nodes:
            raise SpecError(
                f"{self.name} started {self.processes} processes on {self.nodes} nodes: "
                "each node must have the same number"
            )
        return self.processes // self.nodes


def launcher() -> Launcher | None:
    """What started this process, where it was not the user or the engine; `SpecError` for variables of no sense."""
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


def is_first() -> bool:
    """Whether this is the process that speaks to the user."""
    found = launcher()
    return found.rank == 0 if found else is_first_here()


def is_first_here() -> bool:
    """Whether this is the first process of its node, or one that cannot know."""
    try:
        found = launcher()
    except SpecError:
        return True
    return found.local_rank == 0 if found else os.environ.get("LOCAL_RANK", "0") in ("0", "")


def fitted(spec: RunSpec) -> RunSpec:
    """The spec with the launcher's numbers of devices and nodes; `SpecError` where it says something else (not 1)."""
    found = launcher()
    if found is None:
        if spec.nodes > 1:
            raise SpecError(
                f"--nodes {spec.nodes}, but nobody started the others. On each node: torchrun --nnodes {spec.nodes} "
                f"--nproc-per-node {spec.devices} --node-rank RANK --master-addr FIRST_NODE -m taildiff train …; "
                "or srun in a SLURM job (docs/scaling.md)"
            )
        return spec
    if spec.devices not in (1, found.devices) or spec.nodes not in (1, found.nodes):
        raise SpecError(
            f"--devices {spec.devices} --nodes {spec.nodes} does not fit {found.name}, which started "
            f"{found.processes} processes, {found.devices} on each of {found.nodes} nodes: "
            f"give --devices {found.devices} --nodes {found.nodes}, or neither"
        )
    values = spec.model_dump() | {"devices": found.devices, "nodes": found.nodes}
    return parse(RunSpec, values, f"{found.name} started {found.processes} processes")
