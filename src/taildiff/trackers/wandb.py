"""Weights & Biases (extra `wandb`), online or, with WANDB_MODE=offline, in the run's folder `wandb/`.

A run keeps its identity there over all calls. Online, the steps that W&B has already are not sent again; they are the
same, as a resumed run is bitwise the run that never stopped. Offline, the folder of each call has the whole curve, so
that the newest one is all that `wandb sync` needs.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taildiff.io.checksum import json_sha256
from taildiff.run.layout import RunDir
from taildiff.trackers.base import library


class WandB:
    """Sends a run to the project `taildiff`, or that of WANDB_PROJECT."""

    name = "wandb"

    def __init__(self):
        """`InputError` where wandb is not installed."""
        self._wandb: Any = library("wandb", self.name)
        self._run: Any = None

    def init(self, run: RunDir) -> None:
        """Start the run there, or continue it; its own errors without a login or a network."""
        info = run.info()
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "taildiff",
            name=os.environ.get("WANDB_NAME") or run.root.resolve().name,
            id=json_sha256([run.root.resolve().name, info.created, info.spec.seed, info.split_hash])[:16],
            resume="allow",
            reinit="create_new",  # a notebook may have a run of its own
            dir=os.environ.get("WANDB_DIR") or str(run.root),
            config=info.spec.model_dump(mode="json"),
            settings=self._wandb.Settings(console="off"),  # our progress bar is no log
        )
        self._first = self._run.step
        """Steps before this one are there already."""

    def log(self, step: int, time: float, values: Mapping[str, float], images: Mapping[str, Path]) -> None:
        """Send values and images of a step, unless they are there."""
        if step >= self._first:
            shown = {name: self._wandb.Image(str(path)) for name, path in images.items()}
            self._run.log({**values, **shown}, step=step)

    def finish(self) -> None:
        """Wait until everything is sent or written."""
        if self._run is not None:
            self._run.finish()
            self._run = None
