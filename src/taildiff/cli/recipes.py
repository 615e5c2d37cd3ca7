"""taildiff recipes: what can be trained by name."""

import inspect

from taildiff.cli.common import console, next_steps
from taildiff.errors import SpecError
from taildiff.recipes import FIXED, FOR_DATA, METHODS


def main(args: list[str]) -> int:
    """List all recipes with their docstrings."""
    if args and args[0] not in ("-h", "--help"):
        raise SpecError(f"taildiff recipes takes no options, not {args[0]}")
    for name, make in {**FIXED, **FOR_DATA}.items():
        console.print(f"[bold cyan]{name}[/]", highlight=False)
        text = "  " + inspect.cleandoc(make.__doc__ or "").replace("\n", "\n  ")
        console.print(text, highlight=False, markup=False, soft_wrap=True)  # so that commands can be copied
    next_steps(
        "taildiff train RECIPE --dry-run        # the resolved spec, as JSON",
        f"taildiff train RECIPE --method METHOD  # any of {', '.join(METHODS)} in any recipe",
    )
    return 0
