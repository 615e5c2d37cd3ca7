"""Data whose exact denoiser is known, DDPM in continuous time, and levels between interior ones: for tests of order."""

import torch

from taildiff.diffusion.prediction import target
from taildiff.diffusion.process import DDPM


class Unrounded(DDPM):
    """DDPM in continuous time (Song et al. 2021)."""

    def coefficients(self, s):
        t = s.double() * 1000
        log_alpha_bar = -(1e-4 * t + (0.02 - 1e-4) * t**2 / 2000)
        return (log_alpha_bar / 2).exp(), (-torch.expm1(log_alpha_bar)).sqrt()


def mixture(process):
    """The exact denoiser of 0.3 N(-0.6, 0.05) + 0.7 N(0.5, 0.02), pixel by pixel, float64."""
    weights, means, variances = (
        torch.tensor(values, dtype=torch.float64).view(-1, 1, 1, 1, 1)
        for values in ((0.3, 0.7), (-0.6, 0.5), (0.05, 0.02))
    )

    def network(x, s, y):
        alpha, sigma = (c.double().view(-1, 1, 1, 1) for c in process.coefficients(s))
        total = alpha**2 * variances + sigma**2
        gap = x - alpha * means
        log_share = weights.log() - total.log() / 2 - gap**2 / (2 * total)
        share = log_share.softmax(0)
        x0 = (share * (means + alpha * variances * gap / total)).sum(0)
        eps = (x - alpha * x0) / sigma
        return target(process.prediction, x0, eps, alpha, sigma)

    return network


def log_levels(process, n, first=0.9, last=0.1):
    """Levels evenly spaced in log(alpha/sigma), between interior levels."""
    grid = torch.linspace(1e-3, 1 - 1e-3, 20_001, dtype=torch.float64)
    alpha, sigma = process.coefficients(grid)
    ratio = (sigma / alpha).log()
    ends = [ratio[(grid - s).abs().argmin()].item() for s in (first, last)]
    wanted = torch.linspace(*ends, n + 1, dtype=torch.float64)
    place = torch.searchsorted(ratio, wanted).clamp(1, len(grid) - 1)
    share = (wanted - ratio[place - 1]) / (ratio[place] - ratio[place - 1])
    return (grid[place - 1] + share * (grid[place] - grid[place - 1])).tolist()
