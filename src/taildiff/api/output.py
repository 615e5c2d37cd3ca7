"""Whether a file that the user names for output, `--out`, may be written; the same rule for all verbs.

A regular file, new or existing, of a suffix that fits; links are followed, devices and pipes are not. Never a file of
a store, of latents, of an evaluation, or in the folders that a run keeps (state/, weights/, samples/, evals/). Other
files in a run's folder are the user's, and so is its report.html, which can be written again.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from taildiff.data.store_files import is_latents, is_store
from taildiff.errors import InputError
from taildiff.io.paths import check_writable, output_path, special_kind
from taildiff.run.layout import EvalDir, RunDir

PAGE = (".html",)
"""The suffix of a report."""
ARRAYS = (".npz",)
"""The suffix of sampled images in one file."""


def output_file(path: str | os.PathLike[str], suffixes: Sequence[str]) -> Path:
    """Where to write the file `path`, with a link followed; `InputError` where it may not be written.

    Creates nothing, so that a verb can check before its work.
    """
    place = output_path(path)
    shown = f"{path}, a link to {place}," if Path(path).is_symlink() else f"{path}"
    if os.path.isdir(place):  # noqa: PTH112 (false for a name that is too long)
        raise InputError(f"{path} is a folder; name a file, such as --out {place / f'NAME{suffixes[0]}'}")
    if kind := special_kind(place):
        raise InputError(f"{shown} is a {kind}; choose a regular file with --out")
    if place.suffix.lower() not in suffixes:
        *others, last = suffixes
        listed = f"{', '.join(others)} or {last}" if others else last
        raise InputError(f"{shown} has the suffix '{place.suffix}': --out must end in {listed}")
    try:
        target = place.resolve()
        check_writable(target)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle among the folders
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"cannot write {path}: {reason}. Choose another file with --out") from None
    if owner := _owner(target):
        raise InputError(f"{shown} lies in {owner}, whose files must not be changed; choose another file with --out")
    return place


def _owner(target: Path) -> str | None:
    """The store, latents, evaluation or run whose files are in the folder of `target`, in words."""
    folder = target.parent
    kinds = {"the store": is_store(folder), "the latents": is_latents(folder)}
    kinds["the evaluation"] = EvalDir(folder).table_json.is_file()
    for kind, found in kinds.items():
        if found:
            return f"{kind} {folder}"
    for run in map(RunDir, target.parents):
        kept = (run.states, run.weights_dir, run.samples, run.evals)
        if run.exists() and any(target.is_relative_to(place) for place in kept):
            return f"a folder of the run {run.root}"
    return None
