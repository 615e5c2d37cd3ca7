"""The processes that sample together: one, or those of an engine."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taildiff.device import chosen_device
from taildiff.distributed import devices_and_nodes, launcher
from taildiff.errors import SpecError

if TYPE_CHECKING:
    from taildiff.engine import Engine  # lightning-fabric

MEMORY = "a smaller --batch-size, or --precision bf16-mixed"


@dataclass(frozen=True)
class Team:
    """Who samples; `engine` is None for one process."""

    device: str
    engine: "Engine | None" = None

    @property
    def is_rank_zero(self) -> bool:
        """Whether this process writes files."""
        return self.engine is None or self.engine.is_rank_zero

    def on_rank_zero(self, action: Callable[[], None]) -> None:
        """Run what may fail on rank zero; where it fails, every process raises."""
        if self.engine is None:
            action()
        else:
            self.engine.on_rank_zero(action)

    def finish(self) -> None:
        """Wait until rank zero is here, however long it takes."""
        if self.engine is not None:
            self.engine.from_rank_zero(lambda: None)


def check_team(devices: int, device: str | None) -> str:
    """The device of `working_together`, with the same errors; starts no process."""
    if devices < 1:
        raise SpecError(f"--devices must be at least 1, not {devices}")
    if devices == 1 and launcher() is None:
        return chosen_device(device)
    from taildiff.engine import accelerator_for

    return accelerator_for(*devices_and_nodes(devices, 1), device)


@contextmanager
def working_together(devices: int, device: str | None, work: str) -> Iterator[Team]:
    """Start `devices` processes, or connect to those of a launcher; an error is reported by one of them.

    `SpecError` for fewer than one device, more than there are, or others than the launcher started.
    """
    chosen = check_team(devices, device)
    if devices == 1 and launcher() is None:
        yield Team(chosen)
        return
    from taildiff.engine import Engine

    engine = Engine(*devices_and_nodes(devices, 1), device)
    with engine.report_once(work, MEMORY):
        yield Team(str(engine.device), engine)
        engine.shutdown()
