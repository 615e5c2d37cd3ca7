"""taildiff recipes: what can be trained by name."""

import inspect

from taildiff.cli.common import console, next_steps
from taildiff.errors import SpecError
from taildiff.recipes import FIXED, FOR_DATA


def main(args: list[str]) -> int:
    """List all recipes with their docstrings."""
    if args and args[0] not in ("-h", "--help"):
        raise SpecError(f"taildiff recipes takes no options, not {args[0]}")
    for name, make in {**FIXED, **FOR_DATA}.items():
        console.print(f"[bold cyan]{name}[/]", highlight=False)
        console.print("  " + inspect.cleandoc(make.__doc__ or "").replace("\n", "\n  "), highlight=False, markup=False)
    next_steps("taildiff train RECIPE --dry-run        # the resolved spec, as JSON")
    return 0
