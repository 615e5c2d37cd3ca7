"""A run becomes a pipeline of diffusers that gives the same images, with and without taildiff."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, UNet2DModel

import taildiff
from cli.calls import call, said, tree
from exporting import made
from taildiff.data.store import Store
from taildiff.diffusers import TaildiffPipeline
from taildiff.errors import InputError
from taildiff.exporting.public import public_record, public_text
from taildiff.io.png import png
from taildiff.run.exported import ExportDir, ExportMeta
from taildiff.run.info import StoreRef
from taildiff.run.layout import RunDir
from taildiff.spec import DataFacts, DataSpec, RunSpec, SamplingSpec

LABELS = [2, 2, 0]
WITHOUT = """
import sys

class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("taildiff", "pydantic", "tyro"):
            raise ModuleNotFoundError(f"forbidden: {name}")

sys.meta_path.insert(0, Forbid())
import numpy as np
from diffusers import DiffusionPipeline

for out in sys.argv[1:]:
    pipe = DiffusionPipeline.from_pretrained(out, trust_remote_code=True)
    np.save(f"{out}/without.npy", pipe([2, 2, "c0"], seed=3, output_type="np").images)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("export")


@pytest.fixture
def exported(place: Path, make_store: Callable[..., Store], tiny_vae: Path) -> Callable[..., tuple[Path, Path]]:
    """(run, export) of a kind of network, made once."""

    def make(kind: str) -> tuple[Path, Path]:
        run, out = place / f"{kind}-run", place / kind
        if not out.exists():
            store = make_store(place / f"{kind}-store", size=16)
            made.make_run(run, store, made.SPECS[kind], tiny_vae if kind == "dit" else None)
            taildiff.export(run, out, grid=2, guidance=1.5, steps=3)
        return run, out

    return make


def expected(run: Path, **options: Any) -> np.ndarray:
    images = taildiff.load(run).sample(LABELS, **{"guidance": 1.5, "seed": 3, "steps": 3} | options)
    return images.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("kind", ["unet", "sit", pytest.param("dit", marks=pytest.mark.slow)])
def test_both_ways_of_loading_give_the_images_of_the_run(
    exported: Callable[..., tuple[Path, Path]], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run, out = exported(kind)
    monkeypatch.setattr("diffusers.utils.dynamic_modules_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    images = expected(run)
    assert images.std() > 0.05
    with_code = DiffusionPipeline.from_pretrained(out, trust_remote_code=True)
    assert type(with_code).__module__.startswith("diffusers_modules.")
    for pipe in (TaildiffPipeline.from_pretrained(out), with_code):
        np.testing.assert_allclose(pipe(LABELS, seed=3, output_type="np").images, images, atol=1e-5)
        other = pipe(["c2", "c2", "c0"], 1.0, 2, generator=torch.Generator().manual_seed(4), output_type="pt").images
        again = expected(run, guidance=1.0, seed=4, steps=2)
        np.testing.assert_allclose(other.permute(0, 2, 3, 1).numpy(), again, atol=1e-5)
        for sampler, spacing in (("ddim", "uniform"), ("unipc", "logsnr")):
            pictures = pipe(LABELS, seed=3, batch_size=1, sampler=sampler, spacing=spacing).images
            drawn = taildiff.load(run).sample(
                LABELS, guidance=1.5, seed=3, steps=3, sampler=sampler, spacing=spacing, format="pil", batch_size=1
            )
            assert [picture.tobytes() for picture in pictures] == [picture.tobytes() for picture in drawn]


@pytest.mark.slow
def test_the_folders_load_where_there_is_no_taildiff(exported: Callable[..., tuple[Path, Path]], tmp_path: Path):
    pairs = [exported(kind) for kind in ("unet", "sit", "dit")]
    script = tmp_path / "without.py"
    script.write_text(WITHOUT)
    subprocess.run(
        [sys.executable, "-I", str(script), *(str(out) for _, out in pairs)],
        check=True,
        env={"HF_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
    )
    for run, out in pairs:
        np.testing.assert_allclose(np.load(out / "without.npy"), expected(run), atol=1e-5)


def test_a_unet_is_a_plain_model_of_diffusers(exported: Callable[..., tuple[Path, Path]]):
    run, out = exported("unet")
    model = taildiff.load(run)
    plain = UNet2DModel.from_pretrained(out / "net", low_cpu_mem_usage=False)
    x, s, y = torch.randn(3, 1, 16, 16), torch.tensor([0.1, 0.5, 0.9]), torch.tensor([0, 2, 3])
    with torch.no_grad():
        torch.testing.assert_close(plain(x, 1000 * s, y).sample, model.denoiser.predict(x, s, y), atol=1e-5, rtol=0)


def test_the_vae_is_copied_or_named(
    place: Path, exported: Callable[..., tuple[Path, Path]], tiny_vae: Path, capsys: pytest.CaptureFixture[str]
):
    run, out = exported("dit")
    assert (out / "vae" / "config.json").is_file()
    assert str(tiny_vae) not in (out / "model_index.json").read_text()
    assert "latents of AutoencoderKL kl, trained on" in (out / "README.md").read_text()
    named = place / "named"
    assert call("export", run, named, "--vae-as", "name", "--grid", 0, "--guidance", 1.5, "--steps", 3) == 0
    assert not (named / "vae").exists()
    assert json.loads((named / "model_index.json").read_text())["latents"]["source"] == str(tiny_vae)
    images = TaildiffPipeline.from_pretrained(named)(LABELS, seed=3, output_type="np").images
    np.testing.assert_allclose(images, expected(run), atol=1e-5)
    said(capsys)
    assert call("export", exported("unet")[0], place / "x", "--vae-as", "copy") == 2
    assert "do not apply to a pixel-space run" in said(capsys)
    assert not (place / "x").exists()


@pytest.mark.parametrize("kind", ["unet", "dit"])
def test_no_file_of_an_export_says_where_it_was_made(
    exported: Callable[..., tuple[Path, Path]], kind: str, place: Path
):
    _, out = exported(kind)
    for file in out.rglob("*"):
        assert not file.is_file() or str(place.parent).encode() not in file.read_bytes(), file
    assert ExportDir(out).meta().store.hash == RunDir(place / f"{kind}-run").info().store.hash


def test_paths_become_names():
    record = ExportMeta(
        run="r",
        kind="ema",
        step=1,
        spec=RunSpec(data=DataSpec(tail="list", list=Path("/home/me/lists/train.txt"))),
        facts=DataFacts(height=8, width=8, channels=1, class_names=("a",), counts=(1,)),
        counts=(1,),
        store=StoreRef(path="/home/me/store", hash="h"),
        null_trained=True,
        guidance=1,
        sampling=SamplingSpec(),
    )
    assert "/home/me" not in public_record(record, None).model_dump_json()
    assert public_record(record, None).spec.data.list == Path("train.txt")
    for text, named in (
        ("beside the store (/home/me/x y/c.npz: Permission denied)", "beside the store (x y/c.npz: Permission denied)"),
        ("~/data/a.zip: 3 of 255", "a.zip: 3 of 255"),
        ("../b/c d/e.png is grey", "c d/e.png is grey"),
        ("head/body/tail, 1/2 and 24/7", "head/body/tail, 1/2 and 24/7"),
        ("12 images/s", "12 images/s"),
    ):
        assert public_text(text) == named


def test_what_is_in_the_way_is_left_alone(
    exported: Callable[..., tuple[Path, Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run, out = exported("unet")
    before = tree(out)
    assert call("export", run, out) == 2
    assert "exists already" in said(capsys)
    assert tree(out) == before
    assert call("export", run, tmp_path / "new", "--dry-run") == 0
    assert "as a pipeline of diffusers, guidance 1.5" in said(capsys)
    assert not list(tmp_path.iterdir())
    assert call("export", tmp_path / "nothing", tmp_path / "new") == 2
    assert "is not a run" in said(capsys)


def test_wrong_requests_of_the_pipeline_are_named(exported: Callable[..., tuple[Path, Path]]):
    pipe = TaildiffPipeline.from_pretrained(exported("unet")[1])
    for arguments, options, message in (
        (["yak"], {}, "unknown class 'yak'"),
        ([3], {}, r"labels are 0\.\.2"),
        ([0], {"sampler": "heum"}, "unknown sampler or spacing: heum"),
        ([0], {"spacings": "power"}, "unknown sampling setting 'spacings': did you mean 'spacing'"),
        ([0], {"output_type": "latent"}, "unknown output_type"),
    ):
        with pytest.raises(InputError, match=message):
            pipe(arguments, **options)
    pipe.register_to_config(null_trained=False)
    with pytest.raises(InputError, match="null label was never trained"):
        pipe([0])
    assert len(pipe([0], guidance_scale=1, return_dict=False)[0]) == 1


def test_a_damaged_export_is_named(exported: Callable[..., tuple[Path, Path]], tmp_path: Path):
    with pytest.raises(InputError, match="neither a folder nor OWNER/NAME"):
        TaildiffPipeline.from_pretrained(tmp_path / "none")
    record = ExportDir(tmp_path).record
    record.write_text(ExportDir(exported("unet")[1]).record.read_text().replace('"step": 5', '"step": 6'))
    with pytest.raises(InputError, match=r"taildiff\.json was changed or is damaged"):
        ExportDir(tmp_path).meta()


def test_the_grid_shows_the_commonest_class_first(exported: Callable[..., tuple[Path, Path]]):
    run, out = exported("unet")
    first = taildiff.load(run).sample([0], guidance=1.5, steps=3, format="uint8")[0]
    from PIL import Image

    shown = np.asarray(Image.open(out / "grid.png"))
    np.testing.assert_array_equal(shown[:16, :16], first[..., 0])
    assert shown.shape == (3 * 18 - 2, 2 * 18 - 2)
    assert png(first)
