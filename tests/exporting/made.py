"""Untrained runs of every kind of network, with weights under which all of it matters."""

from pathlib import Path

import torch

from taildiff import build
from taildiff.data.longtail import Split
from taildiff.data.store import Store
from taildiff.io.atomic import write_json
from taildiff.models.codec import load_vae
from taildiff.run.info import RunInfo, StoreRef, add_checksum
from taildiff.run.layout import RunDir
from taildiff.run.weights import WeightsMeta, write_weights
from taildiff.spec import DataFacts, DDPMSpec, FlowSpec, RunSpec, SiTSpec, UNetSpec

SIT = SiTSpec(depth=2, width=16, heads=2, patch=1, learn_sigma=True)
UNET = UNetSpec(channels=(8, 16), attention=(1,), group_channels=2)
SPECS = {
    "unet": RunSpec(recipe="made", model=UNET, path=FlowSpec()),
    "sit": RunSpec(recipe="made", model=SIT.model_copy(update={"patch": 4}), path=FlowSpec()),
    "dit": RunSpec(recipe="made", model=SIT.model_copy(update={"embed": "dit"}), path=DDPMSpec(timesteps=100)),
}


def facts_of(store: Store, vae: Path | None = None) -> DataFacts:
    """Those of the store, on latents where a VAE is given."""
    if vae is None:
        return store.facts
    codec = load_vae(str(vae), (store.meta.height, store.meta.width), channels=store.meta.channels).facts
    return store.facts.model_copy(update={"codec": codec})


def randomised(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Random parameters, so that no layer is zero at the start; tables of positions stay."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name != "pos_embed":
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator) + (parameter.dim() == 1))
    return dict(network.state_dict())


def make_run(path: Path, store: Store, spec: RunSpec, vae: Path | None = None, step: int = 5) -> RunDir:
    """A run as training leaves it."""
    run, facts, split = RunDir(path), facts_of(store, vae), Split.cut(store, spec.data)
    info = RunInfo(
        spec=spec, facts=facts, store=StoreRef(path=str(store.root), hash=store.meta.hash), split_hash=split.hash
    )
    write_json(run.spec, add_checksum(info.model_dump(mode="json")))
    split.save(run.split)
    tensors = randomised(build.denoiser(spec.model, facts))
    write_weights(run.weights(step), tensors, WeightsMeta(kind="ema", step=step, spec=spec, facts=facts))
    return run
