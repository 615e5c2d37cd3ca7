"""Devices and processes: several of them through lightning-fabric, which no other module imports.

A single process does without fabric, whose import takes longer than the first steps of a small run. Fabric runs in full
precision, because its mixed precision would round every input, noise levels too, to bf16. The objective puts only the
network under autocast.
"""

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from taildiff.device import chosen_device, has_bf16
from taildiff.distributed import launcher
from taildiff.errors import OtherRankError, RunError, SpecError, TaildiffError
from taildiff.io.paths import reason
from taildiff.memory import keep_freed_memory
from taildiff.spec import RunSpec

if TYPE_CHECKING:
    from lightning_fabric import Fabric

T = TypeVar("T")
TRAINING_MEMORY = (
    "--accumulate 4, --precision bf16-mixed, --model.checkpointing (SiT), a smaller --batch-size or more --devices"
)


class Engine:
    """The process and its device, among all that work together."""

    def __init__(self, devices: int = 1, nodes: int = 1, device: str | None = None):
        """Start the other processes, or connect to those that a launcher started.

        `devices`: GPUs per node, or processes where there is no GPU. `device`: by name; default: the best one.
        `SpecError` for more `devices` than GPUs or a device that is not there, `RunError` when the processes cannot
        connect.
        """
        accelerator = accelerator_for(devices, nodes, device)
        if accelerator == "cpu":
            keep_freed_memory()
        self._answers = 0
        self._fabric = None if devices * nodes == 1 and launcher() is None else _launched(accelerator, devices, nodes)
        self.device = torch.device(accelerator) if self._fabric is None else self._fabric.device
        """The device of this process."""
        if self.device.type == "cuda" and self.device.index is None:
            self.device = torch.device("cuda", 0)

    @property
    def free_memory(self) -> int:
        """Bytes of GPU memory that are free; 0 without a GPU of CUDA."""
        return torch.cuda.mem_get_info(self.device)[0] if self.device.type == "cuda" else 0

    @property
    def is_rank_zero(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    def rows(self, batch_size: int, parts: int = 1) -> tuple[slice, ...]:
        """The rows of the global batch that belong to this rank, by micro-batches.

        Each of the `parts` micro-batches is a range of the global batch, whatever the number of processes.
        """
        world, rank = self.processes, self.rank
        size = batch_size // (world * parts)
        return tuple(slice(first * size, (first + 1) * size) for first in range(rank, world * parts, world))

    @property
    def rank(self) -> int:
        """0..processes-1."""
        return 0 if self._fabric is None else self._fabric.global_rank

    @property
    def processes(self) -> int:
        """On all nodes."""
        return 1 if self._fabric is None else self._fabric.world_size

    def resolved(self, spec: RunSpec) -> RunSpec:
        """The spec with the precision that `auto` stands for: bf16 where the devices of all processes have it."""
        if spec.precision != "auto":
            return spec
        missing = self.any(not has_bf16(self.device))
        return spec.model_copy(update={"precision": "32-true" if missing else "bf16-mixed"})

    def setup(self, module: nn.Module) -> nn.Module:
        """The module on this process's device, under DDP where there are several."""
        return module.to(self.device) if self._fabric is None else self._fabric.setup_module(module)

    def backward(self, loss: Tensor) -> None:
        """Compute gradients and average them over the processes."""
        if self._fabric is None:
            loss.backward()
        else:
            self._fabric.backward(loss)

    def no_sync(self, module: nn.Module, enabled: bool = True) -> AbstractContextManager[None]:
        """Accumulate gradients without averaging; the next backward pass outside averages the sum."""
        if self._fabric is None:
            return nullcontext()
        return self._fabric.no_backward_sync(module, enabled)  # pyright: ignore[reportArgumentType]

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; the same answer in each."""
        return self.max(float(flag)) > 0

    def max(self, value: float) -> float:
        """The largest value of all processes, the same in each; NaN is not allowed."""
        if self._fabric is None or self.processes == 1:
            return value
        largest = self._fabric.all_reduce(torch.tensor(value, dtype=torch.float64, device=self.device), reduce_op="max")
        assert isinstance(largest, Tensor)
        return float(largest)

    def on_rank_zero(self, action: Callable[[], None]) -> None:
        """Run what may fail (writing, mostly) on rank zero; where it fails, every process raises and none waits."""
        failure: Exception | None = None
        if self.is_rank_zero:
            try:
                action()
            except (OSError, TaildiffError) as error:
                failure = error
        if self.any(failure is not None):
            raise failure or OtherRankError("rank zero failed and reports why")

    def from_rank_zero(self, compute: Callable[[], T]) -> T:
        """What rank zero computes, JSON values, in every process; the others wait, however long it takes.

        They wait for the store through which the processes met, because operations of the process group time out.
        """
        if self._fabric is None or self.processes == 1:
            return compute()
        store, key = dist.distributed_c10d._get_default_store(), f"taildiff: answer {self._answers}"
        self._answers += 1
        if self.is_rank_zero:
            value = compute()
            store.set(key, json.dumps(value))
            return value
        store.wait([key], timedelta(days=365))
        return json.loads(store.get(key))

    def gathered(self, rows: Tensor) -> list[Tensor]:
        """Tensors of one shape, from every process in order, on the CPU."""
        if self._fabric is None or self.processes == 1:
            return [rows.cpu()]
        parts = self._fabric.all_gather(rows.to(self.device))
        assert isinstance(parts, Tensor)
        return list(parts.cpu())

    @contextmanager
    def report_once(self, work: str = "training", advice: str = TRAINING_MEMORY) -> Iterator[None]:
        """Report an error once: the first failing rank raises it, the others raise `OtherRankError`.

        `work` and `advice`, against too little memory, are for the messages.
        """
        try:
            yield
        except OtherRankError:
            raise
        except (OSError, TaildiffError, torch.OutOfMemoryError) as error:
            if self.processes > 1 and not _is_first_to_fail():
                raise OtherRankError(str(error)) from error
            if not isinstance(error, torch.OutOfMemoryError):
                raise
            raise RunError(f"out of memory on {self.device}; try {advice}") from error
        except RuntimeError as error:
            if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
                raise
            if not _is_first_to_fail():
                raise OtherRankError("another rank failed and reports why") from error
            raise RunError(
                f"another process of this {work} ended without an error message (killed, or out of memory): check "
                "that node, then rerun the same command to resume"
            ) from error

    def barrier(self) -> None:
        """Wait for all processes."""
        if self._fabric is not None:
            self._fabric.barrier()

    def shutdown(self) -> None:
        """Shut down the process group; a process that exits with an open connection may be aborted by its threads."""
        if self.processes > 1:
            self.barrier()
            dist.destroy_process_group()


def accelerator_for(devices: int, nodes: int, device: str | None) -> str:
    """The device by name, or the best one; `SpecError` where this machine lacks it, or has fewer than `devices`."""
    accelerator = chosen_device(device)
    if accelerator == "mps" and devices * nodes > 1:
        raise SpecError(f"--device mps is one GPU, not {devices * nodes}; remove --devices and --nodes")
    if accelerator == "cuda" and devices > torch.cuda.device_count():
        raise SpecError(
            f"--devices {devices}: this process sees {torch.cuda.device_count()} GPUs"
            + ("; each task must see its whole node: --gpus-per-node, not --gpus-per-task" if launcher() else "")
        )
    return accelerator


def _launched(accelerator: str, devices: int, nodes: int) -> "Fabric":
    """Fabric with all processes started; `RunError` when they cannot connect."""
    from lightning_fabric import Fabric

    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)  # hides its banners
    fabric = Fabric(accelerator=accelerator, devices=devices, num_nodes=nodes, plugins=[_environment(devices)])
    try:
        fabric.launch()
    except dist.DistError as error:
        raise RunError(
            f"the {devices * nodes} processes could not connect ({reason(error)}): "
            "check that all were started and can reach MASTER_ADDR at MASTER_PORT"
        ) from None
    return fabric


def _environment(devices: int) -> Any:
    """Fabric's class for what started the processes."""
    from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment

    match started_by.name if (started_by := launcher()) else None:
        case "torchrun":
            return TorchElasticEnvironment()
        case "SLURM":
            os.environ["SLURM_NTASKS_PER_NODE"] = str(devices)  # fabric needs it, and `srun --ntasks` does not set it
            return SLURMEnvironment(auto_requeue=False)
        case None:
            return LightningEnvironment()


def _is_first_to_fail() -> bool:
    """Whether no other process has reported an error yet, counted in the store through which the processes met."""
    try:
        return dist.distributed_c10d._get_default_store().add("taildiff: errors reported", 1) == 1
    except (RuntimeError, ValueError):  # rank zero, which keeps the store, is gone
        return False


def compile_in_place(module: nn.Module, device: torch.device) -> None:
    """Compile `module` with torch.compile at its first call; its type and parameter names stay.

    `SpecError` when no C compiler is installed. Two optimisations are off because they lose gradients silently: layouts
    of convolutions on a CPU (2.13: of the U-Net, found by tests/training/test_scale.py), and mix-order reductions on a
    GPU (2.10 to 2.13: of adaptive norms, pytorch#193061).
    """
    require_compiler(device)
    options: dict[str, str | int | bool | Callable[..., object]] = {}
    if device.type == "cpu":
        options["layout_optimization"] = False
    elif "triton.mix_order_reduction" in torch._inductor.list_options():
        options["triton.mix_order_reduction"] = False
    module.compile(options=options)


def require_compiler(device: torch.device) -> None:
    """`SpecError` where there is no C compiler, which torch.compile needs."""
    names = ("g++", "clang++", "c++") if device.type == "cpu" else ("gcc", "clang", "cc")
    given = os.environ.get("CXX" if device.type == "cpu" else "CC")
    if not any(map(shutil.which, [given] if given else names)):
        raise SpecError(
            f"--compile needs a C compiler ({', '.join(names)}), and none was found: install one, or remove --compile"
        )
