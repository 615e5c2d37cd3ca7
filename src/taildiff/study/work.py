"""Do what a study still lacks, cell after cell; any number of processes may share the folder.

Each cell is worked on under its own lock. A process that finds nothing to do waits for the others, since the reported
evaluations of a method need the choice over all its cells. A kill loses what followed the last checkpoint or the last
sampled images, and the same call resumes.
"""

import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from taildiff.api.evaluation import evaluate
from taildiff.api.training import train
from taildiff.errors import NonFiniteError, RunError
from taildiff.io.atomic import write_atomic, write_json
from taildiff.io.json_files import read_json
from taildiff.io.lock import BusyError, locked
from taildiff.io.staging import lock_of
from taildiff.log import Progress, log, prefixed, silent
from taildiff.study.cells import Cell, Stores, StudyDir, cells_of, data_hash, report_spec, search_spec
from taildiff.study.choose import Missing, Progressed
from taildiff.study.file import Study

POLL_SECONDS = 5.0


@dataclass(frozen=True)
class How:
    """How cells are trained and evaluated."""

    progress: Progress = silent
    command: tuple[str, ...] = ()
    """Recorded in each run's run.json."""
    device: str | None = None


def start(study: Study, folder: StudyDir, stores: Stores) -> None:
    """Write study.toml and study.json of a new study; `RunError` where the folder holds another study or other data."""
    hashes = {name: data_hash(store) for name, store in stores.items()}
    if folder.record.is_file():
        check_same(study, folder)
        recorded = read_json(folder.record)["data"]
        if changed := [name for name in hashes if recorded.get(name) != hashes[name]]:
            raise RunError(f"{folder.root} was started on other data of {', '.join(changed)}; give a new folder: --out")
        return
    write_atomic(folder.file, study.text.encode())
    created = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(folder.record, {"hash": study.hash, "title": study.title, "created": created, "data": hashes})


def check_same(study: Study, folder: StudyDir) -> None:
    """`RunError` where the folder holds another study; none yet is no error."""
    if not folder.record.is_file():
        return
    values = read_json(folder.record)
    other = values.get("hash") if isinstance(values, dict) else None
    if other != study.hash:
        raise RunError(
            f"{folder.root} holds another study ({str(other)[:10]}; {study.path} has {study.short_hash}): a changed "
            f"file is another study. Give another --out, or restore the file from {folder.file}"
        )


def work(progressed: Progressed, stores: Stores, how: How, retry: bool = False) -> None:
    """Train and evaluate every cell that is not complete and not failed."""
    cells = cells_of(progressed.study, progressed.folder)
    if retry:
        for cell in cells:
            cell.failure.unlink(missing_ok=True)
    for cell in cells:
        _tidy_after_a_kill(progressed, cell)
    waited = False
    while True:
        choices = progressed.choices()
        left = [cell for cell in cells if not cell.failed and progressed.missing(cell, choices)]
        if not left:
            return
        if any(_attempt(progressed, cell, stores, how) for cell in left):
            waited = False
            continue
        if not waited:
            log.info(f"waiting for other processes, which work on the last {len(left)} cells")
        waited = True
        time.sleep(POLL_SECONDS)


def _attempt(progressed: Progressed, cell: Cell, stores: Stores, how: How) -> bool:
    """Do what a cell lacks, unless another process does or has to do something first; whether anything was done."""
    try:
        with locked(lock_of(cell.root), BusyError):
            missing = [] if cell.failed else progressed.missing(cell, progressed.choices())
            possible = [each for each in missing if each.kind == "search" or each.choice]
            for each in possible:
                try:
                    _do(progressed, cell, each, stores, how)
                except (NonFiniteError, RunError) as error:
                    _record_failure(progressed, cell, each, error)
                    break
            if possible:
                _tidy(progressed, cell)
            return bool(possible)
    except BusyError:
        return False


def _do(progressed: Progressed, cell: Cell, missing: Missing, stores: Stores, how: How) -> None:
    """Train as far as an evaluation needs, and evaluate."""
    step, progress = progressed.step(cell, missing.at), prefixed(how.progress, cell.name)
    if missing.choice is not None:
        spec = report_spec(progressed.study, missing.choice.guidance)
    else:
        if step not in cell.run.weight_steps():
            store = stores[cell.arm.dataset.name]
            run = cell.spec(store, progressed.plan.arms[cell.arm.key].last)
            train(
                run, out=cell.root, data=store, stop_at=step, device=how.device, progress=progress, command=how.command
            )
        spec = search_spec(progressed.study, cell.run.info().spec)
    evaluate(cell.root, spec=spec, step=step, device=how.device, progress=progress)


def _record_failure(progressed: Progressed, cell: Cell, missing: Missing, error: Exception) -> None:
    log.warning(f"{cell.name} failed and stays in the table as failed: {error}")
    during = {"during": missing.kind, "step": progressed.step(cell, missing.at)}
    write_json(cell.failure, {"error": str(error), "kind": type(error).__name__, **during})


def _tidy_after_a_kill(progressed: Progressed, cell: Cell) -> None:
    """Remove what a process left that was killed when all of the cell was done, unless another one is at it."""
    lock = lock_of(cell.root)
    if lock.exists():
        with suppress(BusyError), locked(lock, BusyError):
            _tidy(progressed, cell)


def _tidy(progressed: Progressed, cell: Cell) -> None:
    """Remove all weights and checkpoints of a cell but those that are compared and the last, once it is trained."""
    if cell.failed or not progressed.trained(cell):
        return
    run, kept = cell.run, {progressed.step(cell, at) for at in progressed.ats(cell)}
    for step in run.checkpoint_steps()[:-1]:
        shutil.rmtree(run.state(step), ignore_errors=True)
    for kind in ("ema", "raw"):
        for step in {*run.weight_steps(kind)} - kept:
            run.weights(step, kind).unlink(missing_ok=True)
