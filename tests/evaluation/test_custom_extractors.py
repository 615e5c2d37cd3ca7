"""Your own extractors: TorchScript files with their options, Python functions, their mistakes."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from evaluation.tiny import images, make_store
from taildiff.data.store import Store
from taildiff.errors import InputError
from taildiff.evaluation.extractors import extractor
from taildiff.evaluation.extractors.custom import load_function, load_torchscript

SHAPE = (8, 8, 1)


class Means(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.float().mean(dim=(2, 3)), x.float().amax(dim=(2, 3))], dim=1)


class LikeOther(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float().mean(dim=(2, 3)) * 2


class OneRow(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float().mean(dim=(0, 2, 3))


def saved(module: nn.Module, path: Path) -> Path:
    torch.jit.script(module.eval()).save(str(path))
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path / "store", (4, 4, 4))


def test_torchscript_with_its_options(tmp_path: Path, store: Store):
    file = saved(Means(), tmp_path / "my net.pt")
    pictures, _ = images((3, 3, 3))
    plain = extractor(f"torchscript:{file}", store)
    assert (plain.name, plain.dim, plain.is_fid) == ("torchscript-my-net", 6, False)
    assert plain.probabilities(plain.features(pictures)) is None
    np.testing.assert_allclose(plain.features(pictures)[:, :1], pictures.mean(axis=(1, 2)), rtol=1e-5)
    signed = extractor(f"torchscript:{file}?input=signed&channels=same", store)
    assert signed.dim == 2
    np.testing.assert_allclose(signed.features(pictures)[:, :1], pictures.mean(axis=(1, 2)) / 127.5 - 1, atol=1e-5)
    large = extractor(f"torchscript:{file}?size=16&resize=bilinear&input=unit", store)
    smooth = np.asarray(Image.fromarray(pictures[0, :, :, 0]).resize((16, 16), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(large.features(pictures)[0, 3], smooth.max() / 255, atol=1.1 / 255)
    names = ["", "?size=16", "?size=17", "?size=16&resize=bilinear", "?size=16&input=unit", "?size=16&channels=same"]
    assert len({load_torchscript(f"{file}{name}", SHAPE).hash for name in names}) == len(names)


def test_the_hash_is_of_the_content_not_of_the_place(tmp_path: Path):
    first, other = saved(Means(), tmp_path / "a.pt"), saved(LikeOther(), tmp_path / "b.pt")
    (tmp_path / "c.pt").write_bytes(first.read_bytes())
    assert load_torchscript(str(first), SHAPE).hash == load_torchscript(str(tmp_path / "c.pt"), SHAPE).hash
    assert load_torchscript(str(first), SHAPE).hash != load_torchscript(str(other), SHAPE).hash


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?siez=3", "unknown option of torchscript 'siez': did you mean 'size'"),
        ("?size=0", "is not a number of pixels; write size=224"),
        ("?size=big", "is not a number of pixels; write size=224"),
        ("?resize=cubic", "unknown resize 'cubic': did you mean 'bicubic'"),
        ("?input=float", "unknown input 'float'"),
        ("?channels=4", "unknown channels '4'"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, query: str, message: str):
    file = saved(Means(), tmp_path / "net.pt")
    with pytest.raises(InputError, match=message):
        load_torchscript(f"{file}{query}", SHAPE)


def test_files_that_do_not_fit_are_refused(tmp_path: Path):
    (tmp_path / "text.pt").write_text("no network")
    with pytest.raises(InputError, match="not a TorchScript file"):
        load_torchscript(str(tmp_path / "text.pt"), SHAPE)
    with pytest.raises(InputError, match="no TorchScript file"):
        load_torchscript(str(tmp_path / "absent.pt"), SHAPE)
    with pytest.raises(InputError, match="returned \\(3,\\) for 2 images; it must return a tensor"):
        load_torchscript(str(saved(OneRow(), tmp_path / "row.pt")), SHAPE)
    wants_colour = saved(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), tmp_path / "colour.pt")
    assert load_torchscript(f"{wants_colour}?input=unit", SHAPE).dim == 4 * 36
    with pytest.raises(InputError, match="does not accept these images"):
        load_torchscript(f"{wants_colour}?input=unit&channels=same", SHAPE)


OWN = """
import numpy as np

def means(images):
    assert images.dtype == np.uint8
    return images.mean(axis=(1, 2))

def flat(images):
    return images.mean()

number = 3
"""


def test_your_own_function(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "td_own.py").write_text(OWN)
    before = list(sys.path)
    means = extractor("td_own:means", store)
    assert sys.path == before
    pictures, _ = images((3, 3, 3))
    np.testing.assert_allclose(means.features(pictures), pictures.mean(axis=(1, 2)), rtol=1e-6)
    assert (means.name, means.dim, means.is_fid) == ("td_own-means", 1, False)
    assert means.probabilities(means.features(pictures)) is None
    with pytest.raises(InputError, match="must return numbers"):
        extractor("td_own:flat", store)
    for wrong in ("td_own:other", "td_own:number"):
        with pytest.raises(InputError, match="no function"):
            extractor(wrong, store)
    with pytest.raises(InputError, match="cannot be imported"):
        extractor("td_absent:means", store)
    sys.modules["td_own"].means.version = 2
    assert load_function("td_own:means", SHAPE).hash != means.hash
    del sys.modules["td_own"]
    (tmp_path / "td_own.py").write_text(OWN.replace("(1, 2)", "(2, 1)"))
    assert load_function("td_own:means", SHAPE).hash != means.hash
    del sys.modules["td_own"]
