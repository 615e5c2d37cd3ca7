"""Going on with a run: only as the run that it was, from its newest checkpoint that is whole."""

from pathlib import Path
from typing import Any

from taildiff.data.latents import LatentStore
from taildiff.data.longtail import Split
from taildiff.data.store import Store
from taildiff.engine import Engine
from taildiff.errors import CheckpointError, RunError
from taildiff.io.atomic import write_json
from taildiff.log import log
from taildiff.run.info import MAY_CHANGE, RunInfo, add_checksum, changed
from taildiff.run.layout import RunDir
from taildiff.spec import RunSpec
from taildiff.training.checkpoint import Position, Trainable, load_checkpoint, newest, set_aside, tidy


def check_begun(
    run: RunDir, spec: RunSpec, store: Store | LatentStore, split: Split, start_from: Path | None
) -> RunInfo | None:
    """What run.json says of a run that has checkpoints, after making sure that it is this one; None for a new run."""
    steps = run.checkpoint_steps()
    if not steps:
        return None
    if not run.exists():
        raise RunError(f"{run.root} has checkpoints but no run.json, so they cannot be trusted: use another --out")
    old = run.info()
    check_same(run, old.spec, spec)
    latents = old.latents.hash if old.latents else None, store.info.hash if isinstance(store, LatentStore) else None
    if None in latents and latents != (None, None):
        was, now = ("images" if found is None else "latents" for found in latents)
        raise RunError(f"{run.root} was begun on {was}, and {store.root} holds {now}; name those, or use another --out")
    for what, was, now in [
        ("another store", old.store.hash, store.meta.hash),
        ("another split", old.split_hash, split.hash),
        ("other latents", *latents),
    ]:
        if was != now:
            raise RunError(f"{run.root} was begun with {what} (hash {was}, now {now}); use another --out")
    if start_from is not None and str(start_from) != old.start_from:
        raise RunError(f"{run.root} exists already; --from is for a new run: use another --out")
    if steps[-1] > spec.steps:
        raise RunError(f"{run.root} has {steps[-1]} steps behind it: --steps {spec.steps} would undo some; use more")
    return old


def record(run: RunDir, info: dict[str, Any], split: Split, start_from: Path | None, begun: RunInfo | None) -> None:
    """Write run.json and split.json; of a run that goes on, its beginning is kept."""
    info |= {"start_from": None if start_from is None else str(start_from)}
    if begun is not None:
        info |= {"created": begun.created, "command": list(begun.command)}
    run.root.mkdir(parents=True, exist_ok=True)
    split.save(run.split)
    write_json(run.spec, add_checksum(info))


def check_same(run: RunDir, old: RunSpec, new: RunSpec) -> None:
    """`RunError` with one line a field when a run is continued with other settings."""
    free = [*MAY_CHANGE, *(["steps"] if new.optimizer.schedule == "constant" else [])]
    lines = [f"  {name}: {was!r} -> {now!r}" for name, was, now in changed(old, new, free)]
    if lines:
        hint = "" if "steps" in free else " (steps may change under a constant schedule only)"
        raise RunError(
            f"{run.root} is a run with other settings{hint}:\n"
            + "\n".join(lines)
            + "\nLeave these as they were to continue it, or use another --out"
        )


def resume(run: RunDir, trainable: Trainable, engine: Engine) -> Position:
    """Restore in every process; the first one cleans up before and sets damaged checkpoints aside after."""
    if engine.first:
        tidy(run)
    engine.barrier()
    position = restore(run, trainable)
    if engine.any(position.step != engine.largest(position.step)):
        raise RunError(
            f"the processes do not see the same checkpoints in {run.states} (this one: step {position.step}): "
            "--out must be on a file system that all nodes see"
        )
    engine.barrier()  # nobody sets a checkpoint aside while another still reads it
    if engine.first:
        for folder in newest(run):
            if folder > run.state(position.step):
                set_aside(folder)
    return position


def restore(run: RunDir, trainable: Trainable) -> Position:
    """The newest checkpoint that is whole; damaged ones are named and passed over."""
    damaged = 0
    for folder in newest(run):
        try:
            position = load_checkpoint(folder, trainable)
        except CheckpointError as error:
            log.warning(f"ignored a damaged checkpoint: {error}")
            damaged += 1
            continue
        if (run.metrics.stat().st_size if run.metrics.is_file() else 0) < position.metrics_bytes:
            log.warning(f"{run.metrics} is shorter than at the checkpoint; the lost lines cannot be recovered")
        skipped = f"; skipped so far: {position.skipped}" if str(position.skipped) else ""
        log.info(f"resuming {run.root} after step {position.step}{skipped}")
        return position
    if damaged:
        raise CheckpointError(
            f"none of the {damaged} checkpoints in {run.states} is whole; "
            "restore one from a backup, or remove the folder to begin again"
        )
    return Position()
