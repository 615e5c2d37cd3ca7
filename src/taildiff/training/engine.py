"""Devices and processes, through lightning-fabric; nothing else imports it.

Precision is not its affair: fabric's mixed precision would round every input, noise levels too, to bf16. The objective
runs the network alone under autocast.
"""

import logging
from collections.abc import Callable

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from taildiff.errors import RunError, SpecError, TaildiffError
from taildiff.memory import keep_freed_memory
from taildiff.objectives.contrast import gathered


class Engine:
    """One process's view of the devices; `devices` GPUs, or processes where there is no GPU."""

    def __init__(self, devices: int = 1):
        """Start the other processes; `SpecError` when there are fewer GPUs than `devices`."""
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
        if accelerator == "cuda" and devices > torch.cuda.device_count():
            raise SpecError(f"--devices {devices}: there are {torch.cuda.device_count()} GPUs")
        if accelerator == "cpu":
            keep_freed_memory()
        logging.getLogger("lightning_fabric").setLevel(logging.ERROR)  # its banners say nothing that a user needs
        self._fabric = Fabric(accelerator=accelerator, devices=devices)
        self._fabric.launch()

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
            raise failure or RunError("the first process could not go on; its own message says why")

    def barrier(self) -> None:
        """Wait for all processes."""
        self._fabric.barrier()
