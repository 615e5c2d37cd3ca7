"""Named runs: small ones that work anywhere, and the papers' settings; a docstring gives the commands and the cost.

A recipe is a function that returns a `RunSpec`; those that start with `auto` are made for given data. Every field can
be changed on the command line, and `with_method` (`--method`) puts another method into any of them.
"""

from collections.abc import Callable

from taildiff.errors import SpecError, unknown
from taildiff.recipes import latents, pixels, small
from taildiff.recipes.latents import check_data
from taildiff.recipes.methods import METHODS, with_method
from taildiff.recipes.small import auto_ccua, auto_sit_ccua
from taildiff.spec import DataFacts, RunSpec

__all__ = ["FIXED", "FOR_DATA", "METHODS", "NAMES", "auto_ccua", "auto_sit_ccua", "check_data", "recipe", "with_method"]

FIXED: dict[str, Callable[[], RunSpec]] = {
    "mnist5k-plain": small.mnist5k_plain,
    "mnist5k-ccua": small.mnist5k_ccua,
    "mnist5k-cbdm": small.mnist5k_cbdm,
    "mnist5k-t2h": small.mnist5k_t2h,
    "mnist5k-dispersive": small.mnist5k_dispersive,
    "mnist5k-diffrop": small.mnist5k_diffrop,
    "mnist5k-coral": small.mnist5k_coral,
    "mnist5k-sit-ccua": small.mnist5k_sit_ccua,
    "cifar10lt": pixels.cifar10lt,
    "cifar10lt-plain": pixels.cifar10lt_plain,
    "cifar10lt-ccua": pixels.cifar10lt_ccua,
    "cifar10lt-sit-ccua": pixels.cifar10lt_sit_ccua,
    "cifar100lt": pixels.cifar100lt,
    "cifar100lt-0.001": pixels.cifar100lt_0_001,
    "tinyimagenetlt": pixels.tinyimagenetlt,
    "placeslt": pixels.placeslt,
    "imagenetlt64": pixels.imagenetlt64,
    "imagenetlt256-sit-s2": latents.imagenetlt256_sit_s2,
    "imagenetlt256-oltr-sit-s2": latents.imagenetlt256_oltr_sit_s2,
    "imagenetlt256-sit-b2": latents.imagenetlt256_sit_b2,
    "imagenetlt256-sit-xl2": latents.imagenetlt256_sit_xl2,
}
FOR_DATA: dict[str, Callable[[DataFacts], RunSpec]] = {"auto-ccua": auto_ccua, "auto-sit-ccua": auto_sit_ccua}
NAMES = (*FIXED, *FOR_DATA)


def recipe(name: str, facts: DataFacts | None = None, method: str | None = None) -> RunSpec:
    """The run that `name` stands for, with another method if one is named; `facts` are needed by the `auto` ones."""
    if name not in NAMES:
        raise SpecError(unknown("recipe", name, NAMES))
    if name in FIXED:
        spec = FIXED[name]()
    elif facts is None:
        raise SpecError(f"{name} is made for your data: add --data STORE (taildiff data prepare folder … makes one)")
    else:
        spec = FOR_DATA[name](facts)
    return spec if method is None else with_method(spec, method)
