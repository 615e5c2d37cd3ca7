"""`--help`: one line for each of a verb's common options; `--help-all`: every option, in full."""

import re
import textwrap
from collections.abc import Iterator, Sequence

from rich.text import Text

from taildiff.cli.common import console
from taildiff.cli.options import Option
from taildiff.spec import ModelHints, SamplingSpec

COMMON = {SamplingSpec: ("sampler", "steps", "seed"), ModelHints: ()}
"""What `--help` lists of the specs that several verbs share; `--help-all` lists all of their options."""
_WIDEST, _LEFT = 100, 28  # columns in all, and of the flags


def show_help(
    prog: str, about: str, options: Sequence[Option], everything: bool, common: Sequence[str] | None = None
) -> None:
    """Print the help of a verb.

    `common` are the keys of the options to list, in this order and with the first words of each text, unless
    `everything` is wanted.
    """
    brief = common is not None and not everything
    shown = [each for each in options if everything or _is_common(each, common)]
    if common is not None and brief:
        shown.sort(key=lambda option: common.index(option.key))
    required = [f"{each.flag} {each.metavar}" for each in shown if not each.positional and each.default == "required"]
    words = [*(_argument(each) for each in shown if each.positional), *required, "[OPTIONS]"]
    lines = [Text(f"usage: {prog} {' '.join(words)}"), Text(), *map(Text, _paragraphs(about))]
    groups: dict[str, list[Option]] = {}
    for each in shown:
        groups.setdefault("options" if brief else _group(each, everything), []).append(each)
    for name, members in groups.items():
        lines += [Text(), Text(name, "bold")]
        owner = members[0].owner
        if everything and owner and "." in members[0].key:
            lines += [Text(f"  {line}", "dim") for line in _wrapped(owner.__doc__ or "", _width() - 2)]
        for member in members:
            lines += _entry(member, everything, brief)
    if len(shown) < len(options):
        lines += [Text(), Text(f"{prog} --help-all lists all {len(options)} options.")]
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)


def _is_common(option: Option, common: Sequence[str] | None) -> bool:
    if common is not None:
        return option.key in common
    own = COMMON.get(option.owner) if option.owner else None
    return own is None or option.key.rpartition(".")[2] in own


def _argument(option: Option) -> str:
    return option.metavar if option.default == "required" or "[" in option.metavar else f"[{option.metavar}]"


def _group(option: Option, everything: bool) -> str:
    group = option.key.rpartition(".")[0] if everything else option.key.partition(".")[0] * ("." in option.key)
    if option.positional:
        return "arguments"
    return option.group or group or ("sampling" if option.owner is SamplingSpec else "options")


def _entry(option: Option, everything: bool, brief: bool) -> list[Text]:
    """An option's flag and its text beside it, or below a long flag."""
    flag = f"{option.flag}, {option.negative}" if option.is_switch and option.value is True else option.flag
    head = option.metavar if option.positional else f"{flag} {option.metavar}".rstrip()
    text = (
        option.text
        if everything or option.group
        else _first_clause(option.text)
        if brief
        else _first_sentence(option.text)
    )
    lead = "" if brief and option.default == "off" else _lead(option)
    text = f"{text.rstrip('.;:')} ({lead})".strip() if lead else text
    body = _wrapped(text, _width() - _LEFT)
    lines = [Text.assemble("  ", (head, "cyan"))]
    if len(head) <= _LEFT - 4:
        lines[0].append(" " * (_LEFT - 2 - len(head)) + body.pop(0))
    elif brief and len(head) + len(text) + 4 <= _width():
        lines[0].append(f"  {text}")
        body = []
    return lines + [Text(" " * _LEFT + line) for line in body]


def _lead(option: Option) -> str:
    """What stands in brackets behind the text."""
    if option.default == "required":
        return "" if option.positional else "required"
    return f"default: {option.default}"


def _first_sentence(text: str) -> str:
    return re.split(r"(?<!et al)\.\s", text, maxsplit=1)[0]


def _first_clause(text: str) -> str:
    return re.split(r"[.;:](?=\s)| \(", text, maxsplit=1)[0]


def _paragraphs(text: str) -> Iterator[str]:
    """The lines of a text: paragraphs are filled, those with indented lines stay as they are."""
    for k, paragraph in enumerate(text.split("\n\n")):
        if k:
            yield ""
        lines = paragraph.split("\n")
        yield from lines if any(line.startswith(" ") for line in lines) else _wrapped(paragraph, _width())


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), max(width, 30), break_on_hyphens=False) or [""]


def _width() -> int:
    return min(console.width, _WIDEST)
