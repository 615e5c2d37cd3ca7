"""Every recipe resolves to exactly the run of tests/golden/recipes.json, field by field."""

import json
from pathlib import Path

import pytest

from taildiff.recipes import FIXED, FOR_DATA, recipe
from taildiff.spec import CodecFacts, DataFacts

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "recipes.json").read_text())
VAE = CodecFacts(source="vae", kind="AutoencoderKL", hash="0", channels=4, height=32, width=32, scaling=0.18215)


def facts(size: int, channels: int, *counts: int, codec: CodecFacts | None = None) -> DataFacts:
    names = tuple(f"c{k}" for k in range(len(counts)))
    return DataFacts(height=size, width=size, channels=channels, class_names=names, counts=counts, codec=codec)


DATA = {
    "digits": facts(28, 1, 400, 4),
    "photos": facts(64, 3, 30_000, 900, 25),
    "latents": facts(256, 3, *(1280,) * 100, codec=VAE),
    "few": facts(20, 3, 3, 2),
}


@pytest.mark.parametrize("name", FIXED)
def test_a_recipe_is_the_same_run_as_ever(name: str):
    assert recipe(name).model_dump(mode="json") == GOLDEN["fixed"][name]


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("name", FOR_DATA)
def test_an_auto_recipe_chooses_the_same_run_as_ever(name: str, data: str):
    assert recipe(name, DATA[data]).model_dump(mode="json") == GOLDEN["auto"][f"{name}, {data}"]


def test_no_recipe_is_missing():
    assert list(GOLDEN["fixed"]) == list(FIXED)
    assert list(GOLDEN["auto"]) == [f"{name}, {data}" for name in FOR_DATA for data in DATA]
