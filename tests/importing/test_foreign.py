"""Models from elsewhere: each layout as its own code writes it, and what is refused."""

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, DiTPipeline, DiTTransformer2DModel, UNet2DModel
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors.torch import save_file

import taildiff
from cli.calls import call, said
from exporting import made
from taildiff.data.store import Store
from taildiff.errors import CheckpointError, InputError
from taildiff.importing.foreign import is_model, open_foreign
from taildiff.models.sit import SiT
from taildiff.run.layout import RunDir
from taildiff.run.weights import read_weights
from taildiff.sampling.foreign import load_foreign_model
from taildiff.spec import ModelHints, RunSpec, SiTSpec, UNetSpec
from taildiff.training.initialise import adopted, initialise

Tensors = dict[str, torch.Tensor]
GENERATOR = torch.Generator().manual_seed(0)
X, S, Y = torch.randn(3, 3, 8, 8, generator=GENERATOR), torch.tensor([0.1, 0.5, 0.9]), torch.tensor([0, 1, 2])
DDPM_SINUSOIDS = {"flip_sin_to_cos": False, "freq_shift": 1}


def unet(classes: int | None, **changes: Any) -> UNet2DModel:
    down, up = ("DownBlock2D", "AttnDownBlock2D"), ("AttnUpBlock2D", "UpBlock2D")
    options = {"block_out_channels": (16, 32), "norm_num_groups": 4, "layers_per_block": 1} | changes
    network = UNet2DModel(8, 3, 3, down_block_types=down, up_block_types=up, num_class_embeds=classes, **options)
    made.randomised(network)
    return network.eval()


def sit(repa: bool = False, **changes: Any) -> tuple[SiT, Tensors]:
    """A network of pixels and its parameters, with REPA's projectors on request."""
    options: dict[str, Any] = {"depth": 2, "width": 16, "heads": 2, "patch": 4} | changes
    network = SiT((8, 8), 3, 4, **options)
    tensors = made.randomised(network)
    return network, tensors | ({"projectors.0.0.weight": torch.ones(3, 3)} if repa else {})


def predicted(source: Path, hints: ModelHints | None = None, x: torch.Tensor = X) -> torch.Tensor:
    model = load_foreign_model(open_foreign(source, hints))
    return model.denoiser.predict(x, S, Y)


# ------------------------------------------------------------------------------------------- U-Nets of diffusers


@pytest.mark.parametrize(
    "options",
    [
        {"attention_head_dim": 8},
        {
            "attention_head_dim": None,
            "downsample_padding": 0,
            "flip_sin_to_cos": False,
            "freq_shift": 1,
            "norm_eps": 1e-6,
        },
    ],
    ids=["diffusers", "ddpm"],
)
def test_a_unet_folder_is_the_same_network(tmp_path: Path, options: dict[str, Any]):
    network = unet(4, **options)
    network.save_pretrained(tmp_path / "unet")
    with torch.no_grad():
        torch.testing.assert_close(predicted(tmp_path / "unet"), network(X, 1000 * S, Y).sample, atol=1e-5, rtol=1e-5)
    assert open_foreign(tmp_path / "unet").facts.class_names == ("0", "1", "2")


def test_an_unconditional_pipeline_is_sampled_as_one_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    network = unet(None)
    DDPMPipeline(network, DDPMScheduler(beta_end=0.015)).save_pretrained(tmp_path / "pipe")
    found = open_foreign(tmp_path / "pipe")
    assert (found.conditional, found.facts.class_names) == (False, ("all",))
    assert found.spec.path.model_dump()["beta_end"] == 0.015
    model = load_foreign_model(found)
    for label in (0, 1):  # no label says anything
        with torch.no_grad():
            out = model.denoiser.predict(X, S, torch.full((3,), label))
            torch.testing.assert_close(out, network(X, 1000 * S).sample, atol=1e-5, rtol=1e-5)
    assert call("sample", tmp_path / "pipe", "--per-class", 2, "--steps", 2, "--out", tmp_path / "out") == 0
    assert len(list((tmp_path / "out" / "all").glob("*.png"))) == 2
    assert "the model has no labels" in said(capsys)
    assert call("sample", tmp_path / "pipe", "--guidance", 2, "--out", tmp_path / "x") == 2
    assert "has no labels, so there is no guidance" in said(capsys)


def test_training_starts_where_an_unconditional_network_is(tmp_path: Path, make_store: Callable[..., Store]):
    network = unet(None, attention_head_dim=None)
    DDPMPipeline(network, DDPMScheduler()).save_pretrained(tmp_path / "pipe")
    spec = RunSpec(model=UNetSpec(channels=(16, 32), attention=(1,), groups=4), path=made.SPECS["dit"].path)
    facts = open_foreign(tmp_path / "pipe").facts.model_copy(update={"class_names": ("a", "b", "c")})
    learner = initialise(spec, facts, (1, 1, 1), tmp_path / "pipe")
    with torch.no_grad():
        out = learner.denoiser.predict(X, S, Y)
        torch.testing.assert_close(out, network(X, 1000 * S).sample, atol=1e-5, rtol=1e-5)
    other = spec.model_copy(update={"model": UNetSpec(channels=(16, 32), groups=4, norm_eps=1e-3)})
    with pytest.raises(CheckpointError) as error:
        initialise(other, facts, (1, 1, 1), tmp_path / "pipe")
    lines = str(error.value).splitlines()
    assert len(lines) == 3
    assert lines[2] == "To train that network: --model.attention 1 --model.norm-eps 1e-05"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"act_fn": "gelu"}, "act_fn 'gelu', and only 'silu' is supported"),
        ({"freq_shift": 1}, "flip_sin_to_cos, freq_shift"),
        ({"num_class_embeds": 1}, "1 row of labels"),
        ({"block_out_channels": None}, "lacks an entry or has a wrong one|channels"),
        ({"_class_name": "UNet2DConditionModel"}, "contains UNet2DConditionModel: supported are"),
    ],
)
def test_networks_that_ours_cannot_be_are_named(tmp_path: Path, change: dict[str, Any], message: str):
    unet(4).save_pretrained(tmp_path / "unet")
    config = json.loads((tmp_path / "unet" / "config.json").read_text())
    (tmp_path / "unet" / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(InputError, match=message):
        open_foreign(tmp_path / "unet")


# ------------------------------------------------------------------------------------------------------- DiT


@pytest.fixture
def dit(tmp_path: Path, tiny_vae: Path) -> tuple[Path, DiTTransformer2DModel]:
    """A DiTPipeline whose blocks share their embedders, as converted weights do."""
    network = DiTTransformer2DModel(2, 8, 4, 8, num_layers=2, sample_size=4, patch_size=2, num_embeds_ada_norm=3)
    made.randomised(network)
    for block in network.transformer_blocks[1:]:
        block.norm1.emb.load_state_dict(network.transformer_blocks[0].norm1.emb.state_dict())
    labels = {0: "owl, night bird", 1: "crane", 2: "crane"}
    vae = AutoencoderKL.from_pretrained(tiny_vae, low_cpu_mem_usage=False)
    scheduler = DDIMScheduler(beta_schedule="linear", beta_start=1e-4)
    pipe = DiTPipeline(network.eval(), vae, scheduler, id2label=labels)
    pipe.save_pretrained(tmp_path / "dit")
    index = json.loads((tmp_path / "dit" / "model_index.json").read_text())
    index["id2label"] = {str(k): v for k, v in labels.items()}
    (tmp_path / "dit" / "model_index.json").write_text(json.dumps(index))
    return tmp_path / "dit", network


def test_a_dit_pipeline_has_both_frequencies(dit: tuple[Path, DiTTransformer2DModel]):
    folder, network = dit
    z = torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        stock = network(z, 1000 * S, class_labels=Y).sample[:, :4]
    scale = float(stock.abs().max())
    off = [float((predicted(folder, ModelHints(frequencies=f), z) - stock).abs().max()) / scale for f in (127, 128)]
    assert off[0] < 1e-3 < 1e-2 < off[1]
    found = open_foreign(folder)
    assert found.spec.model.model_dump()["frequencies"] == 128
    assert found.facts.class_names == ("owl", "crane (1)", "crane (2)")
    assert (found.facts.height, found.facts.shape) == (32, (4, 4, 4))
    assert taildiff.load(folder).sample(["owl"], steps=2, guidance=2).shape == (1, 3, 32, 32)


def test_training_from_a_dit_needs_its_time_and_takes_its_rows_by_name(dit: tuple[Path, DiTTransformer2DModel]):
    folder, network = dit
    facts = open_foreign(folder).facts.model_copy(update={"class_names": ("crane (2)", "yak", "owl")})
    model = SiTSpec(depth=2, width=16, heads=2, patch=2, learn_sigma=True)
    with pytest.raises(CheckpointError, match=r"To train that network: --model\.embed dit$"):
        initialise(RunSpec(model=model), facts, (1, 1, 1), folder)
    spec = RunSpec(model=model.model_copy(update={"embed": "dit"}), path=made.SPECS["dit"].path)
    table = initialise(spec, facts, (1, 1, 1), folder).denoiser.state_dict()["y_embedder.embedding_table.weight"]
    given = network.transformer_blocks[0].norm1.emb.class_embedder.embedding_table.weight
    torch.testing.assert_close(table[[0, 2, 3]], given[[2, 0, 3]])


def test_a_dit_with_embedders_of_its_own_in_each_block_is_refused(dit: tuple[Path, DiTTransformer2DModel]):
    folder, network = dit
    with torch.no_grad():
        network.transformer_blocks[1].norm1.emb.timestep_embedder.linear_1.weight += 1
    network.save_pretrained(folder / "transformer")
    with pytest.raises(CheckpointError, match="other embedders of time and label in each block"):
        predicted(folder)


# ------------------------------------------------------------------------------------- files of parameters alone


def as_sharded(place: Path, tensors: Tensors) -> Path:
    place.mkdir()
    names = sorted(tensors)
    shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for shard, part in shards.items():
        save_file({name: tensors[name] for name in part}, place / shard)
    index = {"weight_map": {name: shard for shard, part in shards.items() for name in part}}
    (place / "model.safetensors.index.json").write_text(json.dumps(index))
    return place


def wrapped(kind: str, place: Path, tensors: Tensors) -> Path:
    noise = {name: torch.zeros_like(value) for name, value in tensors.items()}
    if kind == "sharded":
        return as_sharded(place, tensors)
    if kind == "safetensors":
        save_file(tensors, place.with_suffix(".safetensors"))
        return place.with_suffix(".safetensors")
    path, args = place.with_suffix(".pt"), Namespace(model="SiT")
    content = {
        "flat": tensors,
        "repa": {"model": noise, "ema": tensors, "opt": {"state": {}}, "args": args, "steps": 5},
        "compiled": {"state_dict": {f"module._orig_mod.{name}": value for name, value in tensors.items()}},
        "averaged": {"n_averaged": torch.tensor(3), **{f"module.net.{name}": v for name, v in tensors.items()}},
        "lightning": {"state_dict": {f"model.{name}": value for name, value in tensors.items()}},
    }
    torch.save(content[kind], path)
    return path


@pytest.mark.parametrize("kind", ["flat", "repa", "compiled", "averaged", "lightning", "safetensors", "sharded"])
def test_parameters_alone_are_recognised_in_every_wrapping(tmp_path: Path, kind: str):
    network, tensors = sit(learn_sigma=True)
    path = wrapped(kind, tmp_path / "file", tensors)
    with torch.no_grad():
        torch.testing.assert_close(predicted(path, ModelHints(heads=2)), network.predict(X, S, Y))
    with pytest.raises(InputError, match=r"width 16, and the number of heads is not in it: give --model\.heads"):
        open_foreign(path)


def test_repa_embeds_s_and_predicts_our_velocity(tmp_path: Path):
    network, tensors = sit(repa=True)
    path = wrapped("repa", tmp_path / "file", tensors)
    found = open_foreign(path, ModelHints(heads=2))
    assert (found.spec.model.model_dump()["embed"], found.spec.path.kind) == ("repa", "flow")
    out = predicted(path, ModelHints(heads=2))
    with torch.no_grad():
        torch.testing.assert_close(out, -network.predict(X, 1 - S, Y))  # SiT's time is 1 - s, its sign the other
    bare = wrapped("flat", tmp_path / "bare", {n: v for n, v in tensors.items() if "projectors" not in n})
    torch.testing.assert_close(predicted(bare, ModelHints(heads=2, embed="repa")), out)
    old = {n.replace("blocks.1.", "decoder_blocks.0."): v for n, v in tensors.items()}  # the first release's names
    torch.testing.assert_close(predicted(wrapped("flat", tmp_path / "old", old), ModelHints(heads=2)), out)


def test_a_dit_file_is_ddpm(tmp_path: Path):
    network, tensors = sit(embed="dit", learn_sigma=True)
    path = wrapped("flat", tmp_path / "file", tensors)
    hints = ModelHints(heads=2, embed="dit")
    assert open_foreign(path, hints).spec.path.kind == "ddpm"
    with torch.no_grad():
        torch.testing.assert_close(predicted(path, hints), network.predict(X, S, Y))


def test_what_does_not_fit_is_three_lines(tmp_path: Path):
    spec, facts = made.SPECS["sit"], open_foreign(wrapped("flat", tmp_path / "x", sit()[1]), ModelHints(heads=2)).facts
    cases = {
        "deep": (sit(depth=3)[1], "It has depth 3 rather than 2, learn_sigma False rather than True"),
        "unet": (dict(unet(4).state_dict()), "It is a U-Net, and this network is a SiT or DiT: choose another recipe"),
        "other": ({f"layer{i}.weight": torch.zeros(2) for i in range(310)}, "It is neither a SiT or DiT nor a U-Net"),
    }
    for name, (tensors, reason) in cases.items():
        path = wrapped("safetensors", tmp_path / name, {n: v.contiguous() for n, v in tensors.items()})
        with pytest.raises(CheckpointError) as error:
            initialise(spec, facts, (1,) * 4, path)
        lines = str(error.value).splitlines()
        assert len(lines) <= 3
        assert all(len(line) < 500 for line in lines)
        assert lines[1].startswith(reason)
        if name != "deep":
            assert "does not fit this network: none of its " in lines[0]
    with pytest.raises(CheckpointError, match=r"To train that network: --model\.depth 3 --model\.learn-sigma False"):
        initialise(spec, facts, (1,) * 4, tmp_path / "deep.safetensors")
    for path, message in (
        (tmp_path / "unet.safetensors", "needs its config.json"),
        (tmp_path / "other.safetensors", "SiT"),
    ):
        with pytest.raises(InputError, match=f"no network that its parameters alone describe.*{message}"):
            open_foreign(path)


def test_latents_need_their_vae(tmp_path: Path, tiny_vae: Path):
    network = SiT((4, 4), 4, 3, depth=1, width=16, heads=2, patch=2)
    path = wrapped("flat", tmp_path / "file", made.randomised(network))
    with pytest.raises(InputError, match="latents of 4 channels: give the VAE that made them, --vae PATH"):
        open_foreign(path, ModelHints(heads=2))
    found = open_foreign(path, ModelHints(heads=2), str(tiny_vae))
    assert (found.facts.height, found.facts.shape) == (32, (4, 4, 4))


def test_names_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    unet(4).save_pretrained(tmp_path / "cache")
    asked: list[tuple[str, bool]] = []

    def snapshot(name: str, allow_patterns: Any, local_files_only: bool = False) -> str:
        asked.append((name, local_files_only))
        if name != "someone/model":
            raise OSError("not in the cache")
        return str(tmp_path / "cache")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert taildiff.load("someone/model").sample([0], steps=1).shape == (1, 3, 8, 8)
    assert asked == [("someone/model", True)]
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert call("sample", "someone/other", "--out", "x") == 2
    assert "hf download someone/other --local-dir model" in said(capsys)
    (tmp_path / "runs").mkdir()
    assert not is_model("runs/mistyped")
    assert call("sample", "runs/mistyped", "--out", "x") == 2
    assert "is not a run" in said(capsys)


# ------------------------------------------------------------------------------------------------ the whole way


@pytest.fixture
def exported(tmp_path: Path, make_store: Callable[..., Store]) -> tuple[RunDir, Path, Store]:
    store = make_store(tmp_path / "store", size=16)
    run = made.make_run(tmp_path / "run", store, made.SPECS["sit"])
    return run, taildiff.export(run.root, tmp_path / "out", guidance=1.5, steps=2, grid=0), store


def test_an_export_is_as_good_as_its_run(exported: tuple[RunDir, Path, Store], tmp_path: Path):
    run, out, store = exported
    options: Any = {"per_class": 2, "guidance": 1.5, "steps": 2, "format": "npz"}
    images = [np.load(taildiff.sample(each, out=tmp_path / f"{each.name}.npz", **options)) for each in (run.root, out)]
    np.testing.assert_array_equal(images[0]["images"], images[1]["images"])
    tuned = taildiff.train(made.SPECS["sit"], out=tmp_path / "tuned", data=store, start_from=out, steps=3, batch_size=4)
    again = taildiff.export(tuned.path, tmp_path / "again", guidance=1, grid=0)
    keys = [sorted(read_weights_of(each)) for each in (out, again)]
    assert keys[0] == keys[1]
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in again.iterdir())


def read_weights_of(out: Path) -> Tensors:
    from safetensors.torch import load_file

    return load_file(out / "net" / "diffusion_pytorch_model.safetensors")


def test_a_model_is_evaluated_as_a_run_beside_it(
    exported: tuple[RunDir, Path, Store],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("taildiff.evaluation.classifier_network._STEPS", (6, 6))
    run, out, store = exported
    options = ("--guidance", 1, "--metrics", "accuracy", "--per-class", 2, "--steps", 1)
    assert call("evaluate", out, *options) == 2
    assert "an export does not say where its images are; give them: --data STORE" in said(capsys)
    real = ("--data", store.root)
    assert call("evaluate", out, *options, *real) == 0
    text = said(capsys)
    assert "out-run" in text
    assert (tmp_path / "out-run" / "split.json").read_bytes() == run.split.read_bytes()
    kept, meta = read_weights(RunDir(tmp_path / "out-run").weights(5))
    assert all(torch.equal(kept[name], value) for name, value in read_weights(run.weights(5))[0].items())
    assert meta.facts.class_names == ("c0", "c1", "c2")
    assert RunDir(tmp_path / "out-run").info().store.path == str(store.root)
    assert call("evaluate", out, *options, *real) == 0  # again: the same run, and its cached numbers
    net = out / "net" / "diffusion_pytorch_model.safetensors"
    copied = tmp_path / "alone.safetensors"
    copied.write_bytes(net.read_bytes())
    said(capsys)
    assert call("evaluate", copied, *options, "--model.heads", 2) == 2
    assert "give the real images to compare" in said(capsys)
    assert call("evaluate", copied, *options, *real, "--model.heads", 2, "--out", tmp_path / "as") == 0
    assert "are taken for the store's classes in their order: 0 is 'c0'" in said(capsys)
    assert RunDir(tmp_path / "as").info().facts.class_names == ("c0", "c1", "c2")


def test_repas_weights_set_the_networks_time_in_training(
    tmp_path: Path, make_store: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
):
    spec = RunSpec(model=SiTSpec(depth=2, width=16, heads=2, patch=4), steps=2, batch_size=4)
    network = SiT((8, 8), 1, 3, depth=2, width=16, heads=2, patch=4)
    tensors = made.randomised(network) | {"projectors.0.0.weight": torch.ones(2, 2)}
    path = wrapped("repa", tmp_path / "file", tensors)
    store = make_store(tmp_path / "store")
    run = taildiff.train(spec, out=tmp_path / "run", data=store, start_from=path, stop_at=1)
    assert run.info.spec.model.model_dump()["embed"] == "repa"
    run = taildiff.train(spec, out=tmp_path / "run", data=store)  # resumed without naming it
    assert run.outcome
    assert run.outcome.step == 2
    (tmp_path / "cache").mkdir()
    save_file(tensors, tmp_path / "cache" / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path / "cache"))
    found = adopted(spec, RunDir(tmp_path / "new"), Path("someone/model"))  # as a name on the Hub
    assert found == run.info.spec.model_copy(update={"recipe": spec.recipe})
    assert initialise(found, store.facts, (1, 1, 1), Path("someone/model"))
    assert adopted(spec, RunDir(tmp_path / "new"), None) == spec
