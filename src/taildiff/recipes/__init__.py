"""Named runs: small ones that work anywhere, the papers' settings, and `auto` ones that fit themselves to the data.

Every field of a recipe can be changed on the command line, and `with_method` (`--method`) puts another method into it.
"""

import inspect
from collections.abc import Callable, Mapping

from taildiff.errors import SpecError, unknown
from taildiff.recipes import auto, latents, pixels, small
from taildiff.recipes.auto import auto_ccua, auto_sit_ccua
from taildiff.recipes.checks import check_data
from taildiff.recipes.methods import METHODS, with_method
from taildiff.recipes.record import Recipe
from taildiff.spec import DataFacts, RunSpec

__all__ = [
    "FIXED",
    "FOR_DATA",
    "METHODS",
    "NAMES",
    "auto_ccua",
    "auto_sit_ccua",
    "check_data",
    "describe",
    "recipe",
    "with_method",
]

FIXED: Mapping[str, Recipe] = {r.name: r for r in (*small.RECIPES, *pixels.RECIPES, *latents.RECIPES)}
FOR_DATA: Mapping[str, Callable[[DataFacts], RunSpec]] = {"auto-ccua": auto_ccua, "auto-sit-ccua": auto_sit_ccua}
NAMES = (*FIXED, *FOR_DATA)


def recipe(name: str, facts: DataFacts | None = None, method: str | None = None) -> RunSpec:
    """The spec of the recipe `name`, with another method if one is given; the `auto` recipes need `facts`."""
    if name not in NAMES:
        raise SpecError(unknown("recipe", name, NAMES))
    if name in FIXED:
        spec = FIXED[name].spec
    elif facts is None:
        raise SpecError(f"{name} fits itself to your data: add --data STORE (taildiff data prepare folder … makes one)")
    else:
        spec = FOR_DATA[name](facts)
    return spec if method is None else with_method(spec, method)


def describe(name: str) -> str:
    """A recipe's description: what it trains, its commands, its cost and published numbers."""
    if name in FIXED:
        return FIXED[name].text
    return f"{inspect.cleandoc(FOR_DATA[name].__doc__ or '')}\n\nMethod: {auto.METHOD}; --method names another."
