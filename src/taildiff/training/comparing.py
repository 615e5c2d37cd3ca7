"""What several processes and gradient accumulation take from terms that compare the samples of a batch."""

from taildiff.spec import RunSpec


def compared_in_parts(spec: RunSpec) -> str:
    """What processes without `gather`, and accumulation, take from terms that compare the samples of a batch.

    A line for each of the two; empty where nothing.
    """
    o, by_gather, lines = spec.objective, dict[bool, list[str]](), list[str]()
    blocks = [(name.upper(), getattr(o, name).gather) for name in o.compares_samples]
    blocks += [("transfer", o.transfer.gather)] if o.transfer.mode != "none" or o.transfer.power else []
    for name, gather in blocks:
        by_gather.setdefault(gather, []).append(name)
    whole = {gather: spec.batch_size // (1 if gather else spec.processes) for gather in by_gather}
    if spec.processes > 1 and (alone := by_gather.get(False)):
        options = " ".join(f"--objective.{name.lower()}.gather" for name in alone)
        lines.append(
            f"[yellow]{spec.processes} processes:[/] {_compare(alone, whole[False], spec.batch_size)} ({options}: all)"
        )
    if spec.accumulate > 1 and by_gather:
        found = [_compare(named, whole[key] // spec.accumulate, whole[key]) for key, named in by_gather.items()]
        lines.append(f"[yellow]--accumulate {spec.accumulate}:[/] {'; '.join(found)}")
    return "\n".join(lines)


def _compare(names: list[str], part: int, whole: int) -> str:
    return f"{' and '.join(names)} compare{'s' if len(names) == 1 else ''} {part} samples instead of {whole}"
