"""A run's settings in words, for `taildiff recipes NAME` and for what an auto recipe chose."""

from collections.abc import Sequence

from rich.markup import escape

from taildiff.cli.common import console
from taildiff.data.latents import LatentStore
from taildiff.data.store import Store
from taildiff.spec import DataSpec, ModelSpec, ObjectiveSpec, RunSpec, SiTSpec, UNetSpec


def show_choices(spec: RunSpec, store: Store | LatentStore) -> None:
    """Print what an auto recipe took from the data."""
    facts = store.facts
    console.print(
        f"[bold]{spec.recipe}[/] for {escape(facts.name)}: {sum(facts.counts)} images of {facts.height}x{facts.width}, "
        f"{'colour' if facts.channels == 3 else 'grey'}, {facts.classes} classes of "
        f"{min(facts.counts)} to {max(facts.counts)} images"
        + (f", as latents {'x'.join(map(str, facts.shape))}" if facts.codec else ""),
        highlight=False,
    )
    for line in settings(spec):
        console.print(f"  {line}", markup=False, highlight=False)
    console.print(f"  (each is an option: taildiff train {spec.recipe} --data STORE --help)", highlight=False)


def settings(spec: RunSpec) -> list[str]:
    """The main settings, a line each."""
    o = spec.optimizer
    rate = f"learning rate {o.lr:g}" + (f" after {o.warmup:,} steps of warm-up" if o.warmup else "")
    return [
        f"model      {network(spec.model)}",
        f"process    {'DDPM, predicts noise' if spec.path.kind == 'ddpm' else 'flow, predicts a velocity'}",
        f"steps      {spec.steps} with {spec.batch_size} images each",
        f"optimiser  {rate}, {o.schedule}; EMA {spec.ema.decay:g}",
        f"tail       {tail(spec.data)}",
        f"order      {order(spec.data)}, mirror images {'yes' if spec.data.flip else 'no'}",
        f"objective  {terms(spec.objective)}",
    ]


def network(spec: ModelSpec) -> str:
    """The network with its sizes."""
    match spec:
        case UNetSpec(channels=channels, blocks=blocks, attention=attention):
            return f"U-Net, channels {_list(channels)}, {blocks} block(s) per level, attention at {_list(attention)}"
        case SiTSpec(depth=depth, width=width, patch=patch):
            return f"SiT, {depth} blocks of width {width}, patch {patch}"


def _list(values: Sequence[int]) -> str:
    return " ".join(map(str, values)) or "no level"


def tail(data: DataSpec) -> str:
    """Which images are kept."""
    match data.tail:
        case "natural":
            return "all images, as they are"
        case "list":
            return f"the images listed in {data.list}"
        case "exp":
            return f"exp, ratio {data.ratio:g}: the rarest class keeps {data.ratio:g} of the commonest"
        case "step":
            share = f"the last {data.step_share:g} of the classes keep {data.ratio:g} of the rest"
            return f"step, ratio {data.ratio:g}: {share}"


def order(data: DataSpec) -> str:
    """How images are drawn: by epoch, or by one of the two laws of class resampling."""
    if data.resample_power is not None:
        return f"class resampling by size, power {data.resample_power:g}"
    return "epochs" if data.resample is None else f"class resampling f = {data.resample:g}"


def terms(spec: ObjectiveSpec) -> str:
    """The terms added to denoising, with their weights, and the share of the batch in a cheaper pass without labels."""
    words = [f"{type(block).__name__.removesuffix('Spec')} {block.weight:g}" for block in spec.terms.values()]
    words += [f"targets {spec.transfer.mode}"] if spec.transfer.mode != "none" else []
    words += [f"null rows {spec.null_fraction:g}"] if spec.null_fraction < 1 else []
    words += [f"shared null rows {spec.shared_null:g}"] if spec.shared_null else []
    return ", ".join(words) or "denoising alone"
