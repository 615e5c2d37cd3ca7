"""Names of classes: which are equal, in which order they stand, and which of them are probably a mistake."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation

from taildiff.errors import first_few

_NONE = {"", "-1", "nan", "none", "null", "na", "n/a", "<na>", "nat", "undefined", "unlabeled", "unlabelled", "unknown"}
"""What programs write where a label is missing, in lower case."""


def canonical(name: str) -> str:
    """The name in Unicode's composed form, NFC: equal ones are one class (macOS writes another form)."""
    return unicodedata.normalize("NFC", name)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct names, sorted as numbers if all are numbers, else as text."""
    distinct = sorted(set(names))
    numbers = {name: _number(name) for name in distinct}
    if any(number is None for number in numbers.values()):
        return tuple(distinct)
    return tuple(sorted(distinct, key=lambda name: (numbers[name] or Decimal(), name)))


def position(names: Sequence[str], name: str) -> int:
    """Where a name that a user gave stands among `names`; -1 if nowhere."""
    if name in names:
        return list(names).index(name)
    equal = [canonical(each) for each in names]
    return equal.index(canonical(name)) if canonical(name) in equal else -1


def by_number(names: Sequence[str]) -> dict[int, int] | None:
    """The position of each class by its number, where all names are different whole numbers; else None."""
    numbers = [_number(name) for name in names]
    whole = {int(number): k for k, number in enumerate(numbers) if number is not None and number == int(number)}
    return whole if len(whole) == len(names) else None


def name_notes(names: Sequence[str], counts: Sequence[int] = ()) -> tuple[str, ...]:
    """Sentences on names that differ only in how they are written, or that stand for a missing label."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_loosely(name), []).append(name)
    alike = [group for group in groups.values() if len(group) > 1]
    notes: list[str] = []
    if alike:
        shown = first_few([" and ".join(f"'{name}'" for name in group) for group in alike], 5, "; ")
        notes.append(
            f"classes whose names differ only in how they are written: {shown}; if they are one class, give them "
            "one name"
        )
    images = dict(zip(names, counts, strict=True)) if len(counts) else {}
    for name in names:
        if _loosely(name) in _NONE:
            count = f" ({images[name]:,} images)" if images else ""
            notes.append(f"the class '{name}'{count} looks like a missing label; if it is one, remove its images")
    return tuple(notes)


def _loosely(name: str) -> str:
    """Equal for names that differ in case, spaces, width and accents' form, or in how a number is written."""
    number = _number(name)
    if number is not None:
        return str(number.normalize() + 0)
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", name).casefold()).strip()


def _number(name: str) -> Decimal | None:
    if not re.fullmatch(r"\s*[+-]?\d{1,30}(\.\d{0,30})?\s*", name, re.ASCII):
        return None
    try:
        return Decimal(name.strip())
    except InvalidOperation:
        return None
