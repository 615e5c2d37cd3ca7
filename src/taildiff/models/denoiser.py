"""What every network looks like from outside.

Labels are 0..C-1; C is the learned null label, "no label". A *tap* is a place inside the network whose activation can
be asked for. Rows from `full` on are wanted for their taps only, and stop at the deepest one: that makes a second
view of the batch cheap when a loss needs features alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from taildiff.errors import SpecError, unknown


class Output(NamedTuple):
    """A network's answer for n rows."""

    prediction: Tensor | None
    """(full, C, H, W); None when no row was to be predicted."""
    features: tuple[Tensor, ...]
    """One a tap, in the order asked for, (n, ...)."""


class Denoiser(nn.Module, ABC):
    """A network that predicts from noisy images, noise levels and labels."""

    classes: int
    tap_names: tuple[str, ...]

    @property
    def null_label(self) -> int:
        """The label that means none."""
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

    def check_taps(self, taps: Iterable[str]) -> None:
        """`SpecError` when a tap does not exist in this network."""
        for tap in taps:
            if tap not in self.tap_names:
                raise SpecError(unknown("tap", tap, self.tap_names))
