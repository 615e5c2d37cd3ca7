"""The U-Net: equal to diffusers' own forward pass, taps, early stop, sizes."""

import pytest
import torch
from diffusers import UNet2DModel

from taildiff import build
from taildiff.errors import SpecError
from taildiff.exporting.stock_unet import stock_unet
from taildiff.importing.stock_unet import unet_config
from taildiff.models.unet import UNet
from taildiff.models.unet_parts import upsampled
from taildiff.recipes import recipe
from taildiff.spec import DataFacts, UNetSpec
from taildiff.testing import check_denoiser

FACTS = DataFacts(height=8, width=8, channels=2, class_names=("a", "b", "c"), counts=(1, 1, 1))


def options(**changes):
    return {"channels": (8, 16), "blocks": 1, "attention": (1,), "zero_init": False, **changes}


def small(dtype=torch.float64, **changes):
    torch.manual_seed(0)
    return UNet(size=(8, 8), image_channels=2, classes=3, **options(**changes)).to(dtype)


def theirs(net, **changes):
    """The same network as diffusers has it."""
    return stock_unet(net, UNetSpec(**options(**changes)), FACTS).to(next(net.parameters()).dtype)


def inputs(n=4, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 2, 8, 8, dtype=dtype, generator=generator)
    return x, torch.rand(n, generator=generator), torch.arange(n) % 4


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize(
    "changes",
    [
        {"attention": ()},
        {"attention": (0,)},
        {"attention": (0, 1), "head_channels": 4},
        {"downsample_padding": 0, "sinusoids": "sin-cos"},
        {"channels": (8, 24, 16), "groups": 4, "norm_eps": 1e-3},
    ],
)
def test_prediction_and_gradient_equal_those_of_diffusers(blocks, changes):
    net = small(blocks=blocks, **changes)
    stock = theirs(net, blocks=blocks, **changes)
    x, s, y = inputs()
    target = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(2))
    predictions = net.predict(x, s, y), stock(x, 1000 * s, y).sample
    torch.testing.assert_close(*predictions, rtol=1e-10, atol=1e-10)
    gradients = [
        torch.autograd.grad((prediction - target).square().sum(), list(network.parameters()))
        for prediction, network in zip(predictions, (net, stock), strict=True)
    ]
    for own, other in zip(*gradients, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("changes", [{}, {"channels": (8, 16, 24), "blocks": 2, "attention": (0, 2)}])
def test_a_seed_gives_the_weights_that_diffusers_starts_with(changes):
    """Also the order of the parameters, over which the gradient's norm is summed."""
    net = small(dtype=torch.float32, **changes)
    torch.manual_seed(0)
    stock = UNet2DModel(**unet_config(UNetSpec(**options(**changes)), FACTS))
    assert [name for name, _ in net.net.named_parameters()] == [name for name, _ in stock.named_parameters()]
    for own, other in zip(net.parameters(), stock.parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=0)


def test_every_tap_has_the_activation_of_its_place():
    net = small()
    stock = theirs(net)
    seen = {}

    def watch(name):
        return lambda _module, _inputs, out: seen.update({name: out[0] if isinstance(out, tuple) else out})

    stock.mid_block.register_forward_hook(watch("middle"))
    stock.down_blocks[1].register_forward_hook(watch("down.1"))
    stock.down_blocks[0].resnets[-1].register_forward_hook(watch("down.0"))
    stock.up_blocks[0].register_forward_hook(watch("up.1"))
    stock.up_blocks[1].register_forward_hook(watch("up.0"))
    x, s, y = inputs()
    stock(x, 1000 * s, y)
    out = net(x, s, y, taps=net.tap_names)
    assert net.tap_names == ("down.0", "down.1", "middle", "up.1", "up.0")
    for name, feature in zip(net.tap_names, out.features, strict=True):
        torch.testing.assert_close(feature, seen[name], rtol=1e-10, atol=1e-10, msg=name)


def test_upsampling_equals_a_convolution_of_repeated_pixels():
    torch.manual_seed(0)
    conv, x = torch.nn.Conv2d(3, 5, 3, padding=1).double(), torch.randn(2, 3, 4, 6, dtype=torch.float64)
    repeated = conv(x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    torch.testing.assert_close(upsampled(x, conv), repeated, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("channels", [(8, 16), (8, 8, 16)])
@pytest.mark.parametrize("attention", [(), (1,)])
def test_contract(channels, attention):
    check_denoiser(lambda: UNet((8, 8), 2, 3, channels, 1, attention, dropout=0.1), (2, 8, 8))


def test_rows_that_stop_cost_nothing_deeper():
    net = small()
    rows = []
    net.net.up_blocks[1].resnets[0].conv1.register_forward_hook(lambda _m, args, _o: rows.append(len(args[0])))
    net(*inputs(), taps=["middle"], full=1)
    assert rows == [1]


def test_the_null_label_is_learned():
    net = small()
    x, s, _ = inputs()
    net.predict(x, s, torch.full((4,), net.null_label)).sum().backward()
    touched = net.net.class_embedding.weight.grad.abs().sum(1) > 0
    assert touched.tolist() == [False, False, False, True]


def test_parameter_counts_of_the_recipes():
    digits = DataFacts(height=28, width=28, channels=1, class_names=tuple("0123456789"), counts=(1,) * 10)
    cifar = digits.model_copy(update={"height": 32, "width": 32, "channels": 3})
    assert build.parameters(build.denoiser(recipe("mnist5k-ccua").model, digits)) == pytest.approx(0.637e6, rel=0.01)
    assert build.parameters(build.denoiser(recipe("cifar10lt-ccua").model, cifar)) == pytest.approx(35.7e6, rel=0.01)


def test_a_size_that_does_not_divide_is_explained():
    facts = DataFacts(height=30, width=30, channels=1, class_names=("a", "b"), counts=(1, 1))
    with pytest.raises(SpecError, match=r"3 levels.*30x30 is not divisible by 4.*--size"):
        build.denoiser(UNetSpec(), facts)
    with pytest.raises(ValueError, match=r"attention is at level 3, but channels has only levels 0\.\.2"):
        UNetSpec(attention=(3,))


@pytest.mark.parametrize(
    ("channels", "at_least", "groups"),
    [
        ((16, 32, 64), 4, 4),
        ((16, 32, 64), 1, 16),
        ((32, 64, 64), 4, 8),
        ((24, 48), 4, 4),
        ((8,), 16, 1),
        ((128, 256, 256, 256), 4, 32),
        ((128, 256, 256, 256), 1, 32),
    ],
)
def test_groups_hold_several_channels(channels, at_least, groups):
    net = UNet((16, 16), 3, 2, channels, 1, group_channels=at_least)
    assert {m.num_groups for m in net.modules() if isinstance(m, torch.nn.GroupNorm)} == {groups}


def test_the_network_starts_near_zero():
    """Each block passes its input on (up to its shortcut), and the prediction is near 0; every weight is trained."""
    zero, default = small(zero_init=True), small(zero_init=False)
    x, s, y = inputs()
    assert zero.predict(x, s, y).abs().max() < 1e-4 < default.predict(x, s, y).abs().max()
    block = zero.net.down_blocks[0].resnets[0]
    h = torch.randn(2, 8, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(block(h, torch.randn(2, 32, dtype=torch.float64)), h, atol=1e-4, rtol=0)
    attention = zero.net.mid_block.attentions[0]
    h = torch.randn(2, 16, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(attention(h), h, atol=1e-4, rtol=0)
    changed = {
        name for (name, a), b in zip(zero.named_parameters(), default.parameters(), strict=True) if (a != b).any()
    }
    tails = ("conv2.weight", "conv2.bias", "to_out.0.weight", "to_out.0.bias", "conv_out.weight", "conv_out.bias")
    assert {name for name, _ in zero.named_parameters() if name.endswith(tails)} == changed
