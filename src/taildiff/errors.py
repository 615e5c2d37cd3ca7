"""Every error that taildiff raises on purpose.

A message says what is wrong and what to do next. The command line prints it on its own, without a traceback, and exits
with 2; a library user can catch `TaildiffError`, or `ValueError` where the input was wrong.
"""

import difflib
from collections.abc import Iterable


class TaildiffError(Exception):
    """Base of all errors that are meant for the user."""


class InputError(TaildiffError, ValueError):
    """Something the user gave is wrong: an option, a file, a combination."""


class SpecError(InputError):
    """A field, recipe or option that does not exist or does not fit."""


class DataError(InputError):
    """Images, stores and splits that cannot be used as they are."""


class RunError(InputError):
    """A run directory that cannot be resumed, read or compared."""


class CheckpointError(RunError):
    """A checkpoint or weights file that is damaged or belongs to something else."""


class FollowerError(RunError):
    """Training ended because another process did, which says why; the command line leaves this one unsaid."""


class NonFiniteError(TaildiffError):
    """The loss stopped being a number; training was stopped and nothing after the last checkpoint was saved."""


def unknown(kind: str, name: str, choices: Iterable[str]) -> str:
    """One sentence for a name that is not among `choices`, with the nearest one suggested.

    >>> unknown("sampler", "heum", ["euler", "heun"])
    "unknown sampler 'heum': did you mean 'heun'? Choices: euler, heun"
    """
    known = list(dict.fromkeys(choices))
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else ""
    choose = f"Choices: {', '.join(known)}" if not near or len(known) <= 15 else ""  # a long list hides the hint
    return f"unknown {kind} '{name}': {' '.join(part for part in (hint, choose) if part)}"
