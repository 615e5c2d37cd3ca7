"""The interface of networks.

Labels are 0..C-1; C is the learned null label, "no label". A *tap* is a named place inside the network whose activation
a loss can request. Rows from `full` on are needed for their taps only and stop at the deepest one: that makes a second
view of the batch cheap when a loss needs features alone. `TapRecorder` does the bookkeeping.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from taildiff.errors import SpecError, unknown


class Output(NamedTuple):
    """What a network returns for n rows."""

    prediction: Tensor | None
    """(full, C, H, W); None if full is 0."""
    features: tuple[Tensor, ...]
    """One per requested tap, in that order, (n, ...)."""


class TapRecorder:
    """Collects the requested taps during one forward pass and drops the rows that need nothing deeper.

    After each place of the network, in the order of the forward pass:

        if recorder.record("block.3", x):
            return recorder.output()
        x, c = recorder.keep(x, c)

    and at the end `return recorder.output(prediction)`.
    """

    def __init__(self, places: Sequence[str], full: int):
        """`places`: the requested taps; rows from `full` on are needed for these only."""
        self._places, self._full = places, full
        self._features: dict[str, Tensor] = {}

    def record(self, place: str, activation: Tensor) -> bool:
        """Keep the activation (n, ...) if it is requested; True when no row needs anything deeper."""
        if place in self._places:
            self._features[place] = activation
        return self._full == 0 and not self._missing

    def keep(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The tensors (n, ...), cut to the rows that are still needed."""
        if self._missing:
            return tensors
        # the gradient of a slice of all rows would be a copy
        return tuple(t if len(t) == self._full else t[: self._full] for t in tensors)

    @property
    def _missing(self) -> list[str]:
        return [place for place in self._places if place not in self._features]

    def output(self, prediction: Tensor | None = None) -> Output:
        """The result of the pass; `SpecError` if a requested tap was never recorded."""
        if self._missing:
            raise SpecError(f"forward never recorded the tap '{self._missing[0]}': call recorder.record with its name")
        return Output(prediction, tuple(self._features[place] for place in self._places))


class Denoiser(nn.Module, ABC):
    """A network that predicts from noisy images, noise levels and labels."""

    classes: int
    tap_names: tuple[str, ...]

    @property
    def null_label(self) -> int:
        """The label that means "no label"."""
        return self.classes

    @abstractmethod
    def forward(self, x_s: Tensor, s: Tensor, y: Tensor, taps: Sequence[str] = (), full: int | None = None) -> Output:
        """Predict rows below `full` (None: all) and return the features of all rows.

        x_s (n, C, H, W); s (n,) in [0, 1], 0 clean; y (n,) int64 in 0..C.
        """

    def predict(self, x_s: Tensor, s: Tensor, y: Tensor) -> Tensor:
        """The prediction alone, (n, C, H, W)."""
        prediction = self(x_s, s, y).prediction
        assert prediction is not None
        return prediction

    @abstractmethod
    def width(self, tap: str) -> int:
        """Channels at a tap; `SpecError` when it does not exist."""

    def place(self, tap: str) -> str:
        """Where `forward` records this tap; `SpecError` lists the taps that exist."""
        if tap not in self.tap_names:
            raise SpecError(unknown("tap", tap, self.tap_names))
        return tap

    def check_taps(self, taps: Iterable[str]) -> None:
        """`SpecError` when a tap does not exist in this network."""
        for tap in taps:
            self.place(tap)

    def recorder(self, taps: Sequence[str], rows: int, full: int | None) -> TapRecorder:
        """The bookkeeping of one forward pass over `rows` rows."""
        return TapRecorder([self.place(tap) for tap in taps], rows if full is None else full)
