"""Every error that taildiff raises on purpose.

A message says what is wrong, where, and what to do. The command line prints it without a traceback and exits with 2;
library users catch `TaildiffError`, or `ValueError` for wrong input.
"""

import difflib
from collections.abc import Iterable, Sequence


class TaildiffError(Exception):
    """Base of all errors meant for the user."""


class InputError(TaildiffError, ValueError):
    """An option, a file or a combination of them is wrong."""


class SpecError(InputError):
    """A field, recipe or option does not exist or does not fit."""


class DataError(InputError):
    """Images, a store or a split cannot be used."""


class RunError(InputError):
    """A run cannot be resumed, read or compared."""


class CheckpointError(RunError):
    """A checkpoint or weights file is damaged or belongs to something else."""


class OtherRankError(RunError):
    """Training ended because another rank failed, which reports why; the command line does not print this error."""


class NonFiniteError(TaildiffError):
    """The loss is not finite; training stopped, and the last checkpoint is the newest state."""


def unknown(kind: str, name: str, choices: Iterable[str]) -> str:
    """The message for a name that is not among `choices`, with the closest one suggested.

    >>> unknown("sampler", "heum", ["euler", "heun"])
    "unknown sampler 'heum': did you mean 'heun'? Choices: euler, heun"
    >>> unknown("class", "cat,owl", ["cat", "dog", "owl"])
    "unknown class 'cat,owl': separate several by spaces: cat owl"
    """
    names = list(dict.fromkeys(choices))
    several = [part.strip() for part in name.split(",")]
    if {*several} <= {*names}:
        return f"unknown {kind} '{name}': separate several by spaces: {' '.join(several)}"
    closest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    parts = [f"did you mean '{closest[0]}'?"] if closest else []
    if not closest or len(names) <= 15:  # a long list would hide the suggestion
        parts.append(f"Choices: {', '.join(names)}")
    return f"unknown {kind} '{name}': {' '.join(parts)}"


def first_few(texts: Sequence[str], most: int, separator: str = ", ") -> str:
    """The first `most` texts, joined, and how many more there are.

    >>> first_few(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    return separator.join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")
