"""Import and call code that the user names as MODULE:NAME; whatever it raises becomes one clear error."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from taildiff.errors import InputError
from taildiff.text import one_line


def imported(place: str, option: str) -> object:
    """What `MODULE:NAME` names; the module may lie in the current folder. `InputError` where there is no such thing."""
    module_name, _, name = place.partition(":")
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise InputError(f"{option} {place}: '{module_name}' is not the name of a module; write MODULE:NAME")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        with of_user(f"module {module_name} of {option} {place} cannot be imported"):
            module = import_module(module_name)
    finally:
        if here in sys.path:  # the module may have changed it
            sys.path.remove(here)
    if not hasattr(module, name):
        raise InputError(
            f"module {module_name} has no function or class '{name}'; name one: {option} {module_name}:NAME"
        )
    return getattr(module, name)


@contextmanager
def of_user(what: str, own: str = __file__) -> Iterator[None]:
    """Turn whatever the user's own code raises, also sys.exit, into an `InputError` that names its line.

    `own` is the file whose own lines are not named.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's
            raise
        *_, frame = traceback.extract_tb(error.__traceback__)
        place = "" if frame.filename in (own, __file__) else f" ({frame.filename}, line {frame.lineno})"
        raise InputError(f"{what}: {type(error).__name__}: {one_line(error)}{place}") from None
