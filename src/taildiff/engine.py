"""Devices and processes, through lightning-fabric; nothing else imports it.

Precision is not its affair: fabric's mixed precision would round every input, noise levels too, to bf16. The objective
runs the network alone under autocast.
"""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment
from torch import Tensor, nn

from taildiff.distributed import launcher
from taildiff.errors import FollowerError, RunError, SpecError, TaildiffError
from taildiff.losses.contrastive import gathered
from taildiff.memory import keep_freed_memory


class Engine:
    """One process's view of the devices; `devices` GPUs a node, or processes where there is no GPU."""

    def __init__(self, devices: int = 1, nodes: int = 1):
        """Start the other processes, or meet those that a launcher started (`launched.fitted` made the numbers fit).

        `SpecError` when there are fewer GPUs than `devices`, `RunError` when the processes do not find each other.
        """
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
        if accelerator == "cuda" and devices > torch.cuda.device_count():
            raise SpecError(
                f"--devices {devices}: this process sees {torch.cuda.device_count()} GPUs"
                + ("; each task must see all of its node: --gpus-per-node, not --gpus-per-task" if launcher() else "")
            )
        if accelerator == "cpu":
            keep_freed_memory()
        logging.getLogger("lightning_fabric").setLevel(logging.ERROR)  # its banners say nothing that a user needs
        self._fabric = Fabric(
            accelerator=accelerator, devices=devices, num_nodes=nodes, plugins=[_environment(devices)]
        )
        try:
            self._fabric.launch()
        except dist.DistError as error:
            raise RunError(
                f"the {devices * nodes} processes did not find each other ({str(error).splitlines()[0]}): "
                "check that all were started, and that they can reach MASTER_ADDR at MASTER_PORT"
            ) from None

    @property
    def device(self) -> torch.device:
        """The own device."""
        return self._fabric.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self._fabric.is_global_zero

    def rows(self, batch_size: int) -> slice:
        """The own part of the global batch."""
        own = batch_size // self._fabric.world_size
        return slice(self._fabric.global_rank * own, (self._fabric.global_rank + 1) * own)

    @property
    def rank(self) -> int:
        """0..processes-1."""
        return self._fabric.global_rank

    def setup(self, module: nn.Module) -> nn.Module:
        """The module on its device, under precision and DDP."""
        return self._fabric.setup_module(module)

    def backward(self, loss: Tensor) -> None:
        """Gradients, averaged over the processes."""
        self._fabric.backward(loss)

    def apart(self, module: nn.Module, enabled: bool = True) -> AbstractContextManager[None]:
        """Forward and backward in here add to the own gradients only; the next ones outside exchange the sum."""
        return self._fabric.no_backward_sync(module, enabled)  # pyright: ignore[reportArgumentType]

    def gather(self, rows: Tensor) -> Tensor:
        """Rows (n, …) of all processes, in rank order."""
        return gathered(rows)[0]

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in any process, so that all of them stop together."""
        if self._fabric.world_size == 1:
            return flag
        raised = self._fabric.all_reduce(torch.tensor(float(flag), device=self.device), reduce_op="sum")
        assert isinstance(raised, Tensor)
        return bool(raised > 0)

    def largest(self, value: float) -> float:
        """The largest value of all processes, the same in each; no NaN."""
        if self._fabric.world_size == 1:
            return value
        most = self._fabric.all_reduce(torch.tensor(value, dtype=torch.float64, device=self.device), reduce_op="max")
        assert isinstance(most, Tensor)
        return float(most)

    def alone(self, action: Callable[[], None]) -> None:
        """Let the first process do what may fail (writing, mostly); where it fails, all of them do, and none waits."""
        failure: Exception | None = None
        if self.first:
            try:
                action()
            except (OSError, TaildiffError) as error:
                failure = error
        if self.any(failure is not None):
            raise failure or FollowerError("the first process could not go on; its own message says why")

    @contextmanager
    def one_voice(self) -> Iterator[None]:
        """Of the processes that an error ends, the first to fail raises it, the others `FollowerError`."""
        try:
            yield
        except FollowerError:
            raise
        except (OSError, TaildiffError, torch.OutOfMemoryError) as error:
            if self._fabric.world_size > 1 and not _speaks():
                raise FollowerError(str(error)) from error
            if not isinstance(error, torch.OutOfMemoryError):
                raise
            raise RunError(
                f"the memory of {self.device} is full: a batch in parts (--accumulate 4) needs less of it, and so do "
                "--precision bf16-mixed, --model.checkpointing (SiT), a smaller --batch-size and more --devices"
            ) from error
        except RuntimeError as error:
            if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
                raise
            if not _speaks():
                raise FollowerError("another process ended; its own message says why") from error
            raise RunError(
                "another process of this training ended without a word (killed, or out of memory): see to its machine, "
                "then give the same command again; it goes on from the newest checkpoint"
            ) from error

    def barrier(self) -> None:
        """Wait for all processes."""
        self._fabric.barrier()

    def part(self) -> None:
        """Take leave of the other processes; one that ends with the connection open may be aborted by its threads."""
        if self._fabric.world_size > 1:
            self.barrier()
            dist.destroy_process_group()


def _environment(devices: int) -> LightningEnvironment | SLURMEnvironment | TorchElasticEnvironment:
    """Fabric's word for what started the processes."""
    match found.name if (found := launcher()) else None:
        case "torchrun":
            return TorchElasticEnvironment()
        case "SLURM":
            os.environ["SLURM_NTASKS_PER_NODE"] = str(devices)  # fabric wants it, and `srun --ntasks` sets none
            return SLURMEnvironment(auto_requeue=False)
        case None:
            return LightningEnvironment()


def _speaks() -> bool:
    """Whether no other process has told of an error yet; asked through the store that all processes met at."""
    try:
        return dist.distributed_c10d._get_default_store().add("taildiff: errors told", 1) == 1
    except (RuntimeError, ValueError):  # the first process, which keeps the store, is gone
        return False


def compile_in_place(module: nn.Module, device: torch.device) -> None:
    """torch.compile what `module` computes, at its first call; its type and the names of its parameters stay.

    `SpecError` when there is no compiler for the code that torch writes. Two of its optimisations are off because they
    lose gradients silently: layouts of convolutions on a CPU (2.13: of the U-Net, found by
    tests/training/test_scale.py), and mix-order reductions on a GPU (2.10 to 2.13: of adaptive norms, pytorch#193061).
    """
    _require_compiler(device)
    options: dict[str, str | int | bool | Callable[..., object]] = {}
    if device.type == "cpu":
        options["layout_optimization"] = False
    elif "triton.mix_order_reduction" in torch._inductor.list_options():
        options["triton.mix_order_reduction"] = False
    module.compile(options=options)


def _require_compiler(device: torch.device) -> None:
    names = ("g++", "clang++", "c++") if device.type == "cpu" else ("gcc", "clang", "cc")
    given = os.environ.get("CXX" if device.type == "cpu" else "CC")
    if not any(map(shutil.which, [given] if given else names)):
        raise SpecError(
            f"--compile needs a C compiler ({', '.join(names)}), and there is none: install one, or leave --compile out"
        )
