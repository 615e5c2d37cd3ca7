"""Guidance of rows with scales of their own: what runs, and what comes out."""

import torch

from taildiff.diffusion.guidance import autoguided, guided

NULL = 9


class Counting:
    """A network that returns x (y + 1) and keeps its rows."""

    def __init__(self, gain: float = 1.0):
        self.gain, self.labels = gain, list[list[int]]()

    def __call__(self, x, s, y):
        self.labels.append(y.tolist())
        return self.gain * x * (y + 1).view(-1, 1, 1, 1)


def inputs(n=4):
    return torch.arange(1.0, n + 1).view(n, 1, 1, 1), torch.full((n,), 0.5), torch.arange(n)


def test_rows_run_only_as_often_as_their_scale_needs():
    network, (x, s, y) = Counting(), inputs()
    out = guided(network, [1.0, 3.0, 0.0, 1.0], NULL)(x, s, y)
    assert network.labels == [[0, 1, 3, NULL, NULL]]  # rows 0, 1 and 3 with labels, 1 and 2 without
    conditional, null = x * (y + 1).view(-1, 1, 1, 1), x * 10
    expected = torch.stack([conditional[0], null[1] + 3 * (conditional[1] - null[1]), null[2], conditional[3]])
    assert torch.equal(out, expected)


def test_equal_scales_are_one_scale():
    for g in (0.0, 1.0, 2.5):
        one, rows, (x, s, y) = Counting(), Counting(), inputs()
        assert torch.equal(guided(one, g, NULL)(x, s, y), guided(rows, [g] * 4, NULL)(x, s, y))
        assert one.labels == rows.labels
    network = Counting()
    assert guided(network, [1.0, 1.0], NULL) is network
    both = Counting()
    guided(both, [2.0, 3.0, 2.0, 4.0], NULL)(*inputs())
    assert both.labels == [[0, 1, 2, 3, NULL, NULL, NULL, NULL]]


def test_autoguidance_runs_the_worse_network_where_it_counts():
    good, bad, (x, s, y) = Counting(), Counting(0.5), inputs()
    out = autoguided(good, bad, [1.0, 2.0, 1.0, 0.0])(x, s, y)
    assert (good.labels, bad.labels) == ([[0, 1, 2, 3]], [[1, 3]])
    own = x * (y + 1).view(-1, 1, 1, 1)
    assert torch.equal(out.flatten(), torch.tensor([1.0, 1.5, 1.0, 0.5]) * own.flatten())
    assert autoguided(good, bad, 1.0) is good
    assert torch.equal(autoguided(good, bad, 2.0)(x, s, y), 1.5 * own)
