"""Training loops as sides of a comparison: one that follows published CCUA code, a bare diffusers loop, and taildiff.

Published: what the paper describes and releases of this kind do, written here from that description. Two forward
passes, under the labels and under the null label, whose features a hook collects; negatives as a tensor (B, B-1, D);
each image drawn by its class, whose images are found by a scan over all labels; a DataLoader with worker processes;
one coin per batch drops its labels; an average over the entries of the state dict; float32.

Bare: UNet2DModel, DDPMScheduler, AdamW, clip_grad_norm_ and EMAModel of diffusers' training example, on the same
DataLoader without the scan. Both use diffusers' own forward pass of our network, from the same start.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from taildiff import build
from taildiff.data.latents import LatentStore
from taildiff.data.store import Store
from taildiff.data.store_files import SourceMeta, StoreMeta
from taildiff.engine import Engine
from taildiff.exporting.stock_unet import stock_unet
from taildiff.models.unet import UNet
from taildiff.run.layout import RunDir
from taildiff.spec import RunSpec, UNetSpec
from taildiff.training.loop import advance
from taildiff.training.request import TrainingRequest
from taildiff.training.session import open_training

T = 1000
WORKERS = 2


def random_store(shape: tuple[int, int, int], counts: tuple[int, ...]) -> Store:
    """Random images (C, H, W), in memory only."""
    channels, height, width = shape
    labels = np.repeat(np.arange(len(counts)), counts)
    meta = StoreMeta(
        name="random",
        class_names=tuple(f"c{k}" for k in range(len(counts))),
        height=height,
        width=width,
        channels=channels,
        count=len(labels),
        source=SourceMeta(source="random"),
        hash="",
    )
    images = np.random.default_rng(0).integers(0, 256, meta.shape, dtype=np.uint8)
    return Store(root=Path(), meta=meta, labels=labels, test=np.zeros(len(labels), bool), images=images)


def tail(images: int) -> tuple[int, ...]:
    """Ten classes, 100 to 1, of about that many images."""
    shares = [0.01 ** (k / 9) for k in range(10)]
    return tuple(max(1, round(images * share / sum(shares))) for share in shares)


class Side(Protocol):
    """One loop."""

    def step(self, number: int) -> None:
        """One step of training."""
        ...

    def close(self) -> None:
        """End its processes and threads."""
        ...


class Images(Dataset[tuple[Tensor, int]]):
    """Images by position, or by class with a scan for the images of that class."""

    def __init__(self, store: Store, scan: bool):
        self.store, self.scan = store, scan
        classes = store.facts.classes
        law = 0.1 ** (np.arange(classes) / (classes - 1))
        self.law = law / law.sum()

    def __len__(self) -> int:
        return len(self.store.labels)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        """The image in [-1, 1], mirrored half the time, and its label."""
        random = np.random.default_rng()
        if self.scan:
            wanted = random.choice(len(self.law), p=self.law)
            position = int(random.choice([k for k, label in enumerate(self.store.labels) if label == wanted]))
        image = torch.from_numpy(self.store.images[position]).permute(2, 0, 1).float() / 127.5 - 1
        return (image.flip(2) if random.random() < 0.5 else image), int(self.store.labels[position])


class Loader:
    """Batches without end from a DataLoader."""

    def __init__(self, store: Store, batch_size: int, scan: bool):
        images = Images(store, scan)
        self.loader = DataLoader(
            images, batch_size, shuffle=True, drop_last=True, num_workers=WORKERS, persistent_workers=True
        )
        self.batches = self._forever()

    def _forever(self) -> Iterator[list[Tensor]]:
        while True:
            yield from self.loader


class Published:
    """The published training step, plain or with CCUA."""

    def __init__(self, spec: RunSpec, store: Store, device: torch.device, ccua: bool):
        self.net = _network(spec, store, device)
        self.average = _network(spec, store, device)
        self.loader, self.ccua, self.device = Loader(store, spec.batch_size, scan=True), ccua, device
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=spec.optimizer.lr)
        self.null, self.decay = store.facts.classes, spec.ema.decay
        alphas = torch.cumprod(1 - torch.linspace(1e-4, 0.02, T, dtype=torch.float64), 0)
        self.signal, self.noise = (v.sqrt().float().to(device) for v in (alphas, 1 - alphas))
        self.features: list[Tensor] = []
        self.net.mid_block.register_forward_hook(lambda _m, _i, out: self.features.append(out))

    def step(self, number: int) -> None:
        """One step of training."""
        x, y = (part.to(self.device) for part in next(self.loader.batches))
        t, eps = torch.randint(T, (len(x),), device=self.device), torch.randn_like(x)
        x_t = self.signal[t][:, None, None, None] * x + self.noise[t][:, None, None, None] * eps
        dropped = torch.rand(1).item() < 0.1
        given = torch.full_like(y, self.null) if dropped else y
        self.features.clear()
        prediction = self.net(x_t, t, class_labels=given).sample
        loss = F.mse_loss(prediction, eps)
        if self.ccua:
            null = self.net(x_t, t, class_labels=torch.full_like(y, self.null)).sample
            loss = loss + self._ccua(prediction, null, self.features[-1], t.float() / T, dropped)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        loss.item()  # for the progress bar
        current, average = self.net.state_dict(), self.average.state_dict()
        for key in current:
            average[key].data.copy_(average[key].data * self.decay + current[key].data * (1 - self.decay))

    def _ccua(self, prediction: Tensor, null: Tensor, features: Tensor, w: Tensor, dropped: bool) -> Tensor:
        """UCL over paired negatives, and AL where labels were kept."""
        z = F.normalize(features.flatten(1), dim=1)
        n = len(z)
        others = torch.stack([torch.cat([z[:i], z[i + 1 :]]) for i in range(n)])  # (B, B-1, D)
        negative = (z[:, None] * others).sum(-1) / 0.1
        logits = torch.cat([torch.full((n, 1), 10.0, device=z.device), negative], 1)
        repelled = F.cross_entropy(logits, torch.zeros(n, dtype=torch.long, device=z.device), reduction="none")
        aligned = (prediction - null).square().flatten(1).mean(1) * (0.0 if dropped else 1.0)
        return (w * (repelled + aligned)).mean()

    def close(self) -> None:
        """End the worker processes."""
        del self.loader


class Bare:
    """A bare diffusers loop, plain denoising."""

    def __init__(self, spec: RunSpec, store: Store, device: torch.device):
        self.net, self.device = _network(spec, store, device), device
        self.loader, self.scheduler = Loader(store, spec.batch_size, scan=False), DDPMScheduler(T)
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=spec.optimizer.lr)
        self.average = EMAModel(self.net.parameters(), decay=spec.ema.decay)

    def step(self, number: int) -> None:
        """One step of training."""
        x, y = (part.to(self.device) for part in next(self.loader.batches))
        t, eps = torch.randint(T, (len(x),), device=self.device), torch.randn_like(x)
        noisy = self.scheduler.add_noise(x, eps, t)  # pyright: ignore[reportArgumentType]
        F.mse_loss(self.net(noisy, t, class_labels=y).sample, eps).backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.step(self.net.parameters())

    def close(self) -> None:
        """End the worker processes."""
        del self.loader


class Ours:
    """taildiff's training step with its reading, logging and average; saves nothing."""

    def __init__(self, spec: RunSpec, store: Store | LatentStore, engine: Engine, folder: Path, layout: bool = False):
        """`layout`: weights of convolutions channels-last."""
        request = TrainingRequest(RunDir(folder), engine.resolved(spec), store)
        self.training = open_training(request, engine)
        if layout:
            self.training.trainable.learner.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self._ahead = self.training.batches.ahead(0, 10**9)
        self.batches = self._ahead.__enter__()

    def step(self, number: int) -> None:
        """One step of training."""
        lr = advance(self.training, next(self.batches), number)
        if number % self.training.request.spec.every.log == 0:
            self.training.tracker.write(number, number, 0.0, lr)

    def close(self) -> None:
        """End the thread that reads ahead."""
        self._ahead.__exit__(None, None, None)
        self.training.tracker.close()


def _network(spec: RunSpec, store: Store, device: torch.device) -> nn.Module:
    """Diffusers' UNet2DModel, with the start of a run."""
    torch.manual_seed(0)
    network = build.denoiser(spec.model, store.facts)
    assert isinstance(network, UNet)
    assert isinstance(spec.model, UNetSpec)
    return stock_unet(network, spec.model, store.facts).to(device)  # pyright: ignore[reportArgumentType]
