"""Contract checks for parts that you add: terms of the loss, samplers, networks and importers.

Each raises an `AssertionError` that says which rule is broken and what to do. They need no test framework:

    from taildiff.testing import check_sampler

    def test_my_sampler():
        check_sampler(MySampler)

`gaussian_spread` is a number instead: the share of the data's spread that a sampler keeps.

The parts of taildiff pass the same checks. `docs/extending.md` shows where each part is registered.
"""

from taildiff.testing.importers import check_importer
from taildiff.testing.networks import check_denoiser
from taildiff.testing.samplers import check_sampler, exact_gaussian
from taildiff.testing.spread import gaussian_spread
from taildiff.testing.terms import CLASSES, SHAPE, check_term, small_network

__all__ = [
    "CLASSES",
    "SHAPE",
    "check_denoiser",
    "check_importer",
    "check_sampler",
    "check_term",
    "exact_gaussian",
    "gaussian_spread",
    "small_network",
]
