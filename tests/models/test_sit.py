"""The transformer: equal to the official forward pass, its checkpoints' names, taps, early stop."""

import json

import numpy as np
import pytest
import torch

from taildiff.errors import SpecError
from taildiff.models.sit import SiT, positions
from taildiff.testing import check_denoiser


def small(dtype=torch.float64, **changes):
    torch.manual_seed(0)
    options = {"depth": 4, "width": 24, "heads": 3, "patch": 2, "learn_sigma": True, **changes}
    net = SiT(size=(8, 8), image_channels=2, classes=3, **options)
    with torch.no_grad():  # away from zero, where every block is the identity
        for p in net.parameters():
            p.add_(0.05 * torch.randn(p.shape))
    return net.to(dtype)


def inputs(n=4, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(n, 2, 8, 8, dtype=dtype, generator=generator),
        torch.rand(n, generator=generator),
        torch.arange(n) % 4,
    )


def official(z):
    c = json.loads(str(z["config"]))
    net = SiT(
        size=(c["input_size"],) * 2,
        image_channels=c["in_channels"],
        classes=c["num_classes"],
        depth=c["depth"],
        width=c["hidden_size"],
        heads=c["num_heads"],
        patch=c["patch_size"],
        learn_sigma=c["learn_sigma"],
    )
    return net, {k.removeprefix("param:"): torch.from_numpy(z[k]) for k in z.files if k.startswith("param:")}


def test_equals_the_official_network(golden):
    z = golden("sit_forward")
    net, state = official(z)
    torch.testing.assert_close(net.state_dict()["pos_embed"], state["pos_embed"], rtol=0, atol=1e-6)
    net.load_state_dict(state, strict=True)
    x, t, y = (torch.from_numpy(z[k]) for k in ("x", "t", "y"))
    out = net(x, 1 - t, y, taps=["block.0", "block.2"])
    np.testing.assert_allclose(-out.prediction.detach(), z["output"], rtol=0, atol=1e-5 * np.abs(z["output"]).max())
    for ours, name in zip(out.features, ("first_block_tokens", "last_block_tokens"), strict=True):
        np.testing.assert_allclose(ours.detach(), z[name], rtol=0, atol=1e-5 * np.abs(z[name]).max())


@pytest.mark.parametrize("options", [{}, {"learn_sigma": True, "embed": "dit"}, {"checkpointing": True}], ids=str)
def test_contract(options):
    check_denoiser(lambda: SiT((8, 12), 2, 3, depth=4, width=24, heads=3, patch=2, **options), (2, 8, 12))


def test_rows_that_stop_cost_nothing_deeper():
    net = small()
    rows = []
    for block in net.blocks:
        block.register_forward_hook(lambda _m, args, _o: rows.append(len(args[0])))
    net(*inputs(), taps=["block.1"], full=1)
    net(*inputs(), taps=["block.1"], full=0)
    assert rows == [4, 4, 1, 1, 4, 4]


def test_taps_by_name_and_by_fraction():
    net = small(depth=12)
    blocks = {"middle": 3, "block.11": 11, "depth.0.25": 3, "depth.1": 11, "depth.0": 0}
    for tap, block in blocks.items():
        assert net.place(tap) == f"block.{block}"
    assert net(*inputs(), ["depth.0.5"], full=1).features[0].shape == (4, 16, 24)
    for wrong in ("block.12", "down.0", "depth.2", "block.x"):
        with pytest.raises(SpecError, match="unknown tap"):
            net.check_taps([wrong])


def test_a_fresh_network_predicts_zero_and_every_parameter_learns():
    torch.manual_seed(0)
    net = SiT((8, 8), 2, 3, depth=2, width=24, heads=3, patch=2)
    x, s, y = inputs(dtype=torch.float32)
    assert net.predict(x, s, y).abs().max() == 0
    net = small(torch.float32)
    net.predict(x, s, y).square().sum().backward()
    for name, p in net.named_parameters():
        assert (p.grad is not None) == p.requires_grad, name
    assert (net.y_embedder.embedding_table.weight.grad.abs().sum(1) > 0).tolist() == [True] * 4  # with the null label


def test_checkpointing_changes_nothing():
    plain, saving = small(), small(checkpointing=True)
    gradients = []
    for net in (plain, saving):
        net.train()
        net.predict(*inputs()).square().mean().backward()
        gradients.append([p.grad for p in net.parameters() if p.requires_grad])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-12)


def saved_bytes(net, n):
    """What a forward pass keeps for the backward pass, without parameters."""
    own = {p.untyped_storage().data_ptr() for p in net.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = tensor, storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = net.predict(*inputs(n)).square().mean()
    assert loss.requires_grad
    return sum(size for _, size in kept.values())


def test_checkpointing_keeps_the_input_of_each_block_and_no_more():
    depth, tokens = 8, 16 * 24 * 8  # bytes of one sample's tokens in float64
    plain, saving = (saved_bytes(small(depth=depth, checkpointing=on).train(), 16) for on in (False, True))
    assert plain > 20 * depth * 16 * tokens
    assert saving < (depth + 8) * 16 * tokens
    without_gradient = small(depth=depth, checkpointing=True).eval()
    assert saved_bytes(without_gradient, 16) == plain  # sampling recomputes nothing


def test_dit_embeds_integer_times_and_keeps_the_sign():
    sit, dit = small(), small(embed="dit")
    x, _, y = inputs()
    s = torch.full((4,), 0.5)
    seen = []
    dit.t_embedder.register_forward_hook(lambda _m, args, _o: seen.append(args[0]))
    dit.predict(x, s, y)
    assert seen[0].tolist() == [500.0] * 4
    sit.t_embedder = dit.t_embedder
    sit.embed = "dit"
    assert torch.equal(sit.predict(x, s, y), dit.predict(x, s, y))


def test_positions_tell_rows_from_columns():
    p = positions((2, 3), 8).view(2, 3, 8)
    assert torch.equal(p[0, 1, :4], p[1, 1, :4])  # the column
    assert torch.equal(p[1, 0, 4:], p[1, 2, 4:])  # the row
    assert len({tuple(row.tolist()) for row in p.flatten(0, 1)}) == 6


@pytest.mark.parametrize(
    ("depth", "width", "heads", "millions"),
    [(12, 384, 6, 33), (12, 768, 12, 130), (24, 1024, 16, 458), (28, 1152, 16, 675)],
)
def test_sizes_of_the_papers(depth, width, heads, millions):
    with torch.device("meta"):
        net = SiT((32, 32), 4, 1000, depth, width, heads, patch=2, learn_sigma=True)
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, rel=0.02)


def test_shapes_that_do_not_fit_are_explained():
    with pytest.raises(SpecError, match="patch 3 does not divide the network's input, 8x8"):
        SiT((8, 8), 1, 2, 1, 24, 3, patch=3)
    with pytest.raises(SpecError, match="width 26 must be divisible"):
        SiT((8, 8), 1, 2, 1, 26, 3, patch=2)
