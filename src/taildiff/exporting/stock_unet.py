"""A U-Net of ours as diffusers' own."""

from diffusers import UNet2DModel

from taildiff.importing.stock_unet import unet_config
from taildiff.models.unet import UNet
from taildiff.spec import DataFacts, UNetSpec


def stock_unet(net: UNet, spec: UNetSpec, facts: DataFacts) -> UNet2DModel:
    """The same network as a UNet2DModel, with copies of its parameters; it was built of `spec` and `facts`."""
    stock = UNet2DModel(**unet_config(spec, facts))
    stock.load_state_dict(net.net.state_dict())
    return stock
