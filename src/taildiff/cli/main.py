"""`taildiff VERB …`: finds the verb and turns an error into one message and an exit code.

Exit codes: 0 success; 1 training failed (a non-finite loss), memory ran out, or taildiff itself failed, with the
traceback in a log file; 2 wrong input; 129, 130 and 143 stopped by a closed terminal (SIGHUP),
Ctrl-C or SIGTERM, with everything saved.
"""

import difflib
import errno
import importlib
import itertools
import os
import sys
import time

from taildiff import __version__
from taildiff.cli.unexpected import at_work, memory_message, unexpected
from taildiff.errors import InputError, OtherRankError, SpecError, TaildiffError, unknown
from taildiff.text import show_everything

GRACE = 3.0
"""Seconds for the first process to report an error; a process still running after them failed on its own."""
SYNONYMS = {
    **{word: ("data", word) for word in ("prepare", "show", "encode")},
    **{"import": ("data", "prepare"), "generate": ("sample",), "eval": ("evaluate",), "fit": ("train",)},
}
"""Words that stand for a verb: parts of a longer command, and what other tools call it."""
_FLAGS = ("--help", "--help-all", "--version", "--quiet")
"""Options that need no verb."""
VERBS = {
    "demo": "train two models on long-tailed digits, evaluate and compare them; a report in ten minutes",
    "data": "prepare images (data prepare), encode them as latents (data encode), describe and export them",
    "train": "train a recipe on a store; rerun the same command to resume",
    "sample": "sample images of each class from a run",
    "fill": "complete rare classes with generated images, filtered, in a folder laid out like yours",
    "evaluate": "compare a run's samples, or any images, with real ones, by class and by group",
    "compare": "evaluations side by side: a verdict, and differences with intervals",
    "report": "one HTML page about one run, comparing several, or about evaluated images",
    "study": "methods compared over datasets and training seeds at equal compute, from a file",
    "export": "a run as a folder that diffusers loads, with a model card; push it to the Hugging Face Hub",
    "gallery": "one HTML page to look at generated images, each beside the training image nearest to it",
    "log": "a run's metrics and sample grids for TensorBoard or Weights & Biases",
    "recipes": "list the recipes, or show one in full",
}


def main(argv: list[str] | None = None) -> int:
    """The console script."""
    args = sys.argv[1:] if argv is None else argv
    os.environ.setdefault("PYDANTIC_ERRORS_INCLUDE_URL", "0")  # of no use at a terminal
    show_everything()
    try:
        return _dispatch(args)
    except SystemExit:  # of the parser, which printed the error
        _may_report()
        raise
    except TaildiffError as error:
        _fail(error, str(error))
        cause = error.__cause__ if isinstance(error, OtherRankError) else None
        return 2 if isinstance(cause if isinstance(cause, TaildiffError) else error, InputError) else 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    except Exception as error:
        if _interrupted(error):
            print("stopped", file=sys.stderr)
            return 130
        return _report(error, args)


def _report(error: Exception, args: list[str]) -> int:
    """Print one line about an error that is not ours; the exit code."""
    if message := memory_message(error):
        _fail(error, message)
        return 1
    if isinstance(error, OSError) and error.errno is not None:  # else a library's own, which names no file
        _fail(error, _about_file(error))
        return 2
    _fail(error, unexpected(error, args))
    return 1


def _interrupted(error: BaseException) -> bool:
    """Whether Ctrl-C caused it; diffusers and scipy turn it into other errors while they are imported."""
    cause = error.__cause__ or error.__context__
    return cause is not None and (isinstance(cause, KeyboardInterrupt) or _interrupted(cause))


def _fail(error: Exception, message: str) -> None:
    """Print an error once: on one of several connected processes, or before they connect on one per node."""
    from taildiff.cli.common import fail
    from taildiff.distributed import is_local_rank_zero, launcher

    torch = sys.modules.get("torch")
    connected = torch is not None and torch.distributed.is_initialized()
    if isinstance(error, OtherRankError):
        if launcher() or not is_local_rank_zero():  # the process that started the others would be killed with them
            time.sleep(GRACE)
    elif connected or _may_report():
        fail(message)


def _may_report() -> bool:
    """False in processes whose errors are most likely those of the first process of their node, which reports them.

    Launchers end all processes as soon as one fails: a process still running after GRACE seconds failed on its own.
    """
    from taildiff.distributed import is_local_rank_zero, launcher

    if is_local_rank_zero():
        return True
    time.sleep(GRACE)
    started_by = launcher()
    return started_by is None or started_by.name != "SLURM"  # which does not end the others


def _about_file(error: OSError) -> str:
    """The error of the system, the file, and what to do."""
    match error.errno:
        case errno.EACCES | errno.EPERM | errno.EROFS:
            advice = "Choose another path, or change its permissions"
        case errno.EEXIST | errno.ENOTDIR | errno.EISDIR | errno.ENOTEMPTY:
            advice = "A file is where a folder is needed, or the reverse; choose another path"
        case errno.ENOSPC | errno.EDQUOT:
            advice = "Free some space, then rerun the same command"
        case _:
            advice = "Check the path, then rerun the same command"
    what = error.strerror or str(error) or type(error).__name__
    named = error.filename
    file = os.fsdecode(named) if isinstance(named, str | bytes | os.PathLike) else at_work(error.__traceback__)
    return f"{file}: {what}. {advice}" if file else f"{what}. {advice}"


def _dispatch(args: list[str]) -> int:
    while args[:1] == ["--quiet"]:  # before the verb as well
        args = [*args[1:2], "--quiet", *args[2:]] if args[1:] else []
    if args[:1] == ["help"]:
        args = [*args[1:], "--help"]
    if not args or args[0] in ("-h", "--help"):
        return _help()
    if args[0] in ("-V", "--version"):
        print(f"taildiff {__version__}")
        return 0
    _refuse_empty(args)
    from taildiff.cli.common import print_all_help, start_output
    from taildiff.log import log

    word, args = args[0], [*SYNONYMS.get(args[0], args[:1]), *args[1:]]
    start_output(args)
    if word == "--help-all":
        _help()
        print_all_help(_dispatch, VERBS)
        return 0
    if args[0] not in VERBS:
        raise SpecError(_unknown_verb(word))
    if word not in VERBS:
        log.info(f"{word} is taken for: taildiff {' '.join(SYNONYMS[word])}")
    return importlib.import_module(f"taildiff.cli.{args[0]}").main(args[1:])


def _unknown_verb(word: str) -> str:
    if word.startswith("-"):
        return unknown("option", word, _FLAGS)
    closest = difflib.get_close_matches(word, [*VERBS, *SYNONYMS], n=1)
    if closest and closest[0] in SYNONYMS:
        return f"unknown verb '{word}': did you mean 'taildiff {' '.join(SYNONYMS[closest[0]])}'?"
    return unknown("verb", word, VERBS)


def _refuse_empty(args: list[str]) -> None:
    """Refuse empty arguments: mostly unset shell variables, and an empty path would mean the working directory."""
    for before, value in itertools.pairwise(["", *args]):
        flag, equals, rest = value.partition("=")
        if not value.strip() or (flag.startswith("--") and equals and not rest.strip()):
            name = flag if equals else before if before.startswith("-") else "an argument"
            raise InputError(f"{name} is empty; give it a value or remove it")


def _help() -> int:
    from rich.table import Table

    from taildiff.api.terminal import SafeConsole  # cli.common imports the specs, which takes longer than all of this
    from taildiff.distributed import is_rank_zero

    console = SafeConsole(quiet=not is_rank_zero())
    console.print("[bold]taildiff[/]: train, sample and evaluate diffusion models on long-tailed image data\n")
    console.print(
        "usage: taildiff VERB …   (VERB --help: its options; --help-all: all of them)\n",
        markup=False,
    )
    table = Table.grid(padding=(0, 3))
    for verb, what in VERBS.items():
        table.add_row(f"  [cyan]{verb}[/]", what)
    console.print(table)
    console.print(
        "\nfirst steps\n"
        "  taildiff demo\n"
        "  taildiff data prepare folder ./photos --out data/photos --size 32 --hold-out 0.2\n"
        "  taildiff train auto-ccua --data data/photos --out runs/first",
        highlight=False,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
