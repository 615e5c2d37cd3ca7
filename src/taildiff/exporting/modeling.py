"""The transformer of a SiT or DiT run as a model of diffusers, which it saves, loads and moves."""

from typing import Literal

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config

from taildiff.models.sit import SiT


class TaildiffTransformer(SiT, ModelMixin, ConfigMixin):
    """SiT under the names of its official checkpoints; forward takes x_s (n, C, H, W), s (n,) in [0, 1], labels (n,).

    Label `classes` means "no label". A SiT's or REPA's prediction is the velocity eps - x, a DiT's the noise.
    """

    @register_to_config
    def __init__(
        self,
        size: tuple[int, int],
        image_channels: int,
        classes: int,
        depth: int,
        width: int,
        heads: int,
        patch: int,
        learn_sigma: bool = False,
        embed: Literal["sit", "dit", "repa"] = "sit",
        frequencies: Literal[128, 127] = 128,
    ):
        super().__init__(
            size=(size[0], size[1]),
            image_channels=image_channels,
            classes=classes,
            depth=depth,
            width=width,
            heads=heads,
            patch=patch,
            learn_sigma=learn_sigma,
            embed=embed,
            frequencies=frequencies,
        )
