"""The network of the dataset's classifier, and its training.

About 60,000 parameters and well under a minute of training on two cores, on purpose: it must know the dataset, not win
on it. Features are the 32 rectified units before the last layer, so that a hundred images of a class suffice for
a covariance. Images larger than 64 pixels are first averaged down to 64: it rates content, not fine texture.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from taildiff.evaluation.images import Images, ImageSequence
from taildiff.log import Progress, silent
from taildiff.rng import seed_of, stream

VERSION = 1  # raise it with every change that affects features
DIM = 32
_LONGEST = 64  # pixels
_WIDTH = 16
_BATCH = 128
_EPOCHS = 12
_STEPS = (200, 2000)  # at least, at most
FOLDS = 3
"""Parts of cross-fitting."""

Labels = NDArray[np.integer]  # (N,)


class Network(nn.Module):
    """Convolutions, global mean, `DIM` rectified features (`body`), class scores (`head`)."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        widths = [_WIDTH, 2 * _WIDTH, 4 * _WIDTH]
        layers: list[nn.Module] = [_Shrink(), *_convolution(channels, widths[0], 1)]
        for before, after in pairwise(widths):
            layers += [*_convolution(before, after, 2), *_convolution(after, after, 1)]
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        layers += [nn.Linear(widths[-1], DIM, bias=False), nn.BatchNorm1d(DIM), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(DIM, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores (B, classes) of images (B, C, H, W) in [-1, 1]."""
        return self.head(self.body(x))


class _Shrink(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        scale = _LONGEST / max(height, width)
        if scale >= 1:
            return x
        return F.adaptive_avg_pool2d(x, (max(1, round(height * scale)), max(1, round(width * scale))))


def _convolution(before: int, after: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]


def network(channels: int, classes: int, seed: int) -> Network:
    """An untrained network; its weights depend only on the seed, and no global random state changes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "evaluation/domain/init"))
        return Network(channels, classes).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def train(
    net: Network,
    images: ImageSequence,
    labels: Labels,
    index: NDArray[np.intp],
    seed: int,
    progress: Progress = silent,
    stage: str = "training",
    device: str = "cpu",
    steps: int | None = None,
    augment: bool = True,
) -> None:
    """Train on `images[index]`, every class equally often; leaves `net` on `device`, in eval mode.

    Takes `steps` of 128 images each, by default `steps_for(len(index))`; shifted and mirrored with `augment`.
    """
    by_class = [index[labels[index] == label] for label in np.unique(labels[index])]
    rng = stream(seed, "evaluation/domain/order")
    steps = steps or steps_for(len(index))
    net.to(device).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps, pct_start=0.2)
    for step in range(steps):
        chosen = _draw(by_class, rng)
        x = to_tensor(_augment(images[chosen], rng) if augment else images[chosen], device)
        loss = F.cross_entropy(net(x), torch.from_numpy(labels[chosen].astype(np.int64)).to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        progress(stage, step + 1, steps)
    net.eval()


def steps_for(images: int) -> int:
    """Training steps for this number of images."""
    return min(max(_STEPS[0], ceil(_EPOCHS * images / _BATCH)), _STEPS[1])


def predict(net: Network, images: ImageSequence, index: NDArray[np.intp], device: str = "cpu") -> NDArray[np.int64]:
    """Labels (n,) of `images[index]`."""
    return scores(net, images, index, device).argmax(axis=1)


def scores(net: Network, images: ImageSequence, index: NDArray[np.intp], device: str = "cpu") -> NDArray[np.float32]:
    """Class scores (n, C) of `images[index]`."""
    found = [np.empty((0, net.head.out_features), dtype=np.float32)]
    with torch.inference_mode():
        for start in range(0, len(index), 256):
            found.append(net(to_tensor(images[index[start : start + 256]], device)).cpu().numpy())
    return np.concatenate(found)


def cross_fitted(
    images: ImageSequence, labels: Labels, classes: int, seed: int, progress: Progress = silent, device: str = "cpu"
) -> NDArray[np.float32]:
    """Class scores (N, C) of all images, each by a network trained on the other two thirds."""
    fold = folds(labels, seed)
    found = np.empty((len(labels), classes), dtype=np.float32)
    for number in range(FOLDS):
        held_out = np.flatnonzero(fold == number)
        if not len(held_out):
            continue
        net = network(images.shape[3], classes, seed)
        stage = f"cross-fitting the classifier {number + 1}/{FOLDS}"
        train(net, images, labels, np.flatnonzero(fold != number), seed, progress, stage, device)
        found[held_out] = scores(net, images, held_out, device)
    return found


def to_tensor(images: Images, device: str) -> Tensor:
    """8-bit images (N, H, W, C) as (N, C, H, W) in [-1, 1]."""
    x = torch.from_numpy(np.array(images)).to(device)  # a copy: a mapped store is read-only
    return x.permute(0, 3, 1, 2).float() / 127.5 - 1


def _draw(by_class: Sequence[NDArray[np.intp]], rng: np.random.Generator) -> NDArray[np.intp]:
    classes = rng.integers(0, len(by_class), _BATCH)
    position = rng.random(_BATCH)
    return np.array([by_class[c][int(u * len(by_class[c]))] for c, u in zip(classes, position, strict=True)])


def _augment(images: Images, rng: np.random.Generator) -> Images:
    """Shift by up to 1/14 of the size, repeating edges; mirror colour images (grey ones may be digits or letters)."""
    count, height, width, channels = images.shape
    reach = max(1, min(height, width) // 14)
    padded = np.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    down, right = rng.integers(0, 2 * reach + 1, (2, count))
    shifted = windows[np.arange(count), down, right].transpose(0, 2, 3, 1)  # (N, C, H, W) -> (N, H, W, C)
    if channels == 1:
        return shifted
    mirror = rng.random(count) < 0.5
    return np.where(mirror[:, None, None, None], shifted[:, :, ::-1], shifted)


def folds(labels: Labels, seed: int) -> NDArray[np.intp]:
    """Fold (N,) of each image, 0 to 2; every class is spread over the folds as evenly as possible."""
    rng = stream(seed, "evaluation/domain/folds")
    fold = np.empty(len(labels), dtype=np.intp)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        fold[members] = (np.arange(len(members)) + label) % FOLDS  # rare classes do not all start in fold 0
    return fold
