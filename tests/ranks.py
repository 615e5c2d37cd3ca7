"""Several processes played by threads of one, for tests: what `taildiff.losses.pairwise` calls of torch.distributed."""

import threading
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from taildiff.losses import pairwise


class Ranks:
    """Collective operations among threads, one per rank; other threads are processes of their own."""

    def __init__(self, number: int):
        self.number, self.own = number, threading.local()
        self.meeting = threading.Barrier(number, timeout=60)
        self._parts: list[Tensor] = [torch.empty(0)] * number

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return hasattr(self.own, "rank")

    def get_world_size(self) -> int:
        return self.number

    def get_rank(self) -> int:
        return self.own.rank

    def all_gather(self, parts: list[Tensor], rows: Tensor) -> None:
        assert rows.dtype != torch.bool  # gloo gathers none
        for part, other in zip(parts, self._of_all(rows), strict=True):
            part.copy_(other)

    def all_reduce(self, tensor: Tensor) -> None:
        tensor.copy_(torch.stack(self._of_all(tensor)).sum(0))

    def _of_all(self, tensor: Tensor) -> Sequence[Tensor]:
        self._parts[self.own.rank] = tensor.clone()
        self.meeting.wait()
        parts = tuple(self._parts)
        self.meeting.wait()  # nobody writes the next parts before all have read these
        assert len({(part.shape, part.dtype) for part in parts}) == 1  # as torch.distributed requires
        return parts


def on_ranks(number: int, work: Callable[[int], Any]) -> list[Any]:
    """`work(rank)` of `number` ranks, run as if each were a process of torch.distributed."""
    ranks, results, errors = Ranks(number), dict[int, Any](), list[BaseException]()

    def one(rank: int) -> None:
        ranks.own.rank = rank
        try:
            results[rank] = work(rank)
        except BaseException as error:
            errors.append(error)
            ranks.meeting.abort()

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(number)]
    with mock.patch.object(pairwise, "dist", ranks):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for error in sorted(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError)):
        raise error
    return [results[rank] for rank in range(number)]
