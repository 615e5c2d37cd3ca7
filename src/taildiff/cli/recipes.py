"""`taildiff recipes`: the list of recipes."""

from taildiff.cli.common import QUIET, console, next_steps
from taildiff.errors import SpecError
from taildiff.recipes import METHODS, NAMES, describe


def main(args: list[str]) -> int:
    """List all recipes with their commands and costs."""
    if odd := [arg for arg in args if arg not in ("-h", "--help", QUIET)]:
        raise SpecError(f"taildiff recipes takes no options, not {odd[0]}")
    for name in NAMES:
        console.print(f"[bold cyan]{name}[/]", highlight=False)
        text = "  " + describe(name).replace("\n", "\n  ")
        console.print(text, highlight=False, markup=False, soft_wrap=True)  # so that commands can be copied
    next_steps(
        "taildiff train RECIPE --dry-run        # the resolved spec, as JSON",
        f"taildiff train RECIPE --method METHOD  # any of {', '.join(METHODS)} in any recipe",
    )
    return 0
