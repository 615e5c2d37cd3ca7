"""TensorBoard: event files in the run's folder `tensorboard/` (extra `tensorboard`; no torch, no TensorFlow).

The files hold what metrics.jsonl does. `init` replaces them, so that a resumed run has one curve, and TensorBoard
never has to tell the steps of a stopped call from those of the next.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from PIL import Image

from taildiff.errors import RunError
from taildiff.io.lock import locked
from taildiff.run.layout import RunDir
from taildiff.trackers.base import library

FLUSH_SECONDS = 10


class TensorBoard:
    """Writes event files that `tensorboard --logdir RUN` shows."""

    name = "tensorboard"

    def __init__(self):
        """`InputError` where tensorboard is not installed."""
        self._writer_class: Any = library("tensorboard.summary.writer.event_file_writer", self.name).EventFileWriter
        self._event: Any = library("tensorboard.compat.proto.event_pb2", self.name).Event
        self._summary: Any = library("tensorboard.compat.proto.summary_pb2", self.name).Summary
        self._text: Any = library("tensorboard.plugins.text.summary_v2", self.name).text_pb
        self._held = ExitStack()

    def init(self, run: RunDir) -> None:
        """Replace the event files of the run; `RunError` while another process writes them."""
        folder, info = run.tensorboard, run.info()
        self._held.enter_context(locked(folder / ".lock", lambda holder: _busy(folder, holder)))
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._writer: Any = self._writer_class(str(folder), flush_secs=FLUSH_SECONDS)
        self._held.callback(self._writer.close)
        settings = "".join(f"    {line}\n" for line in info.spec.model_dump_json(indent=1).splitlines())  # Markdown
        self._add(0, info.created_seconds, self._text("settings", settings))

    def log(self, step: int, time: float, values: Mapping[str, float], images: Mapping[str, Path]) -> None:
        """One event with all values and images; the PNG files are stored as they are."""
        value = self._summary.Value
        shown = [value(tag=name, simple_value=number) for name, number in values.items()]
        shown += [value(tag=name, image=self._image(path)) for name, path in images.items()]
        self._add(step, time, self._summary(value=shown))

    def finish(self) -> None:
        """Write what is pending and close the file."""
        self._held.close()

    def _add(self, step: int, time: float, summary: Any) -> None:
        self._writer.add_event(self._event(step=step, wall_time=time, summary=summary))

    def _image(self, path: Path) -> Any:
        with Image.open(path) as image:
            (width, height), channels = image.size, len(image.getbands())
        return self._summary.Image(
            width=width, height=height, colorspace=channels, encoded_image_string=path.read_bytes()
        )


def _busy(folder: Path, holder: str) -> RunError:
    return RunError(f"{folder} is being written by {holder}; wait until it ends")
