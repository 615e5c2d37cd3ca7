"""`taildiff recipes [NAME]`: the list of recipes, or one of them with its settings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from taildiff.cli.common import console, next_steps
from taildiff.cli.parsing import parse_options
from taildiff.cli.settings import settings
from taildiff.data.latents import open_data
from taildiff.errors import SpecError, unknown
from taildiff.recipes import FOR_DATA, METHODS, NAMES, describe, recipe


@dataclass(frozen=True)
class Recipes:
    """List the recipes with their commands and costs, or show one of them with its settings."""

    name: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[NAME]")] = None
    """A recipe. [default: all of them]"""
    json: bool = False
    """Print the whole spec of this recipe as JSON, which taildiff train FILE.json takes."""
    data: Annotated[Path | None, tyro.conf.arg(metavar="STORE")] = None
    """For the auto recipes: the data that they take their values from. [default: none; their values are not shown]"""


def main(args: list[str]) -> int:
    """`taildiff recipes [NAME]`."""
    options = parse_options(Recipes, args, "taildiff recipes")
    if options.name is None:
        if options.json or options.data:
            raise SpecError("name the recipe: taildiff recipes NAME --json")
        for name in NAMES:
            _describe(name)
        next_steps(
            "taildiff recipes NAME          # one of them, with its settings; --json: its spec",
            f"taildiff train RECIPE --method METHOD  # any of {', '.join(METHODS)} in any recipe",
        )
        return 0
    if options.name not in NAMES:
        raise SpecError(unknown("recipe", options.name, NAMES))
    _show(options.name, options.data, options.json)
    return 0


def _show(name: str, data: Path | None, as_json: bool) -> None:
    if data and name not in FOR_DATA:
        raise SpecError(f"{name} is the same for all data: remove --data")
    facts = open_data(data).facts if data else None
    spec = recipe(name, facts) if facts or as_json or name not in FOR_DATA else None
    if as_json and spec:
        print(spec.model_dump_json(indent=1))
        return
    _describe(name)
    console.print()
    for line in settings(spec) if spec else ["(to see what it would choose: --data STORE)"]:
        console.print(f"  {line}", markup=False, highlight=False)
    next_steps(
        f"taildiff train {name} --help        # its options, with these values",
        f"taildiff recipes {name} --json      # the whole spec",
    )


def _describe(name: str) -> None:
    console.print(f"[bold cyan]{name}[/]", highlight=False)
    text = "  " + describe(name).replace("\n", "\n  ")
    console.print(text, highlight=False, markup=False, soft_wrap=True)  # so that commands can be copied
