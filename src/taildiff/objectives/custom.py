"""A term of the user's own, named by MODULE:CLASS: it is imported when a run is trained, and at no other time.

Sampling and evaluation read the run's weights alone and need no module.
"""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taildiff.errors import InputError
from taildiff.io.checksum import file_sha256
from taildiff.io.user_code import imported, of_user
from taildiff.objectives.objective import Term

OPTION = "--objective.custom.term"


def custom_term(place: str, arguments: Mapping[str, Any]) -> Term:
    """The term CLASS(**arguments); `InputError` where the module or class is missing or does not make a `Term`."""
    kind = _class(place)
    with of_user(f"{OPTION} {place} cannot be made with --objective.custom.args {dict(arguments)}", __file__):
        term = kind(**arguments)
    if not (isinstance(getattr(term, "name", None), str) and getattr(term, "needs", None)):
        raise InputError(f"{OPTION} {place}: the term needs a `name` and `needs`; see docs/extending.md")
    return term


def source_hash(place: str) -> str | None:
    """sha256 of the file that defines the class; None where there is no file, as in a notebook."""
    try:
        file = inspect.getsourcefile(_class(place))
    except (TypeError, OSError):
        return None
    return file_sha256(Path(file)) if file and Path(file).is_file() else None


def _class(place: str) -> type[Term]:
    try:
        kind = imported(place, OPTION)
    except InputError as error:
        raise InputError(
            f"{error}. The run can only be trained where this module can be imported, such as in the folder that holds "
            "it; sampling and evaluating need no module"
        ) from None
    if not (isinstance(kind, type) and issubclass(kind, Term)):
        raise InputError(f"{OPTION} {place} is not a subclass of taildiff.objectives.objective.Term")
    return kind
