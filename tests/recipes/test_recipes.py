"""Recipes: each resolves to the same spec as ever, builds and trains; the auto ones fit themselves to any data."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from taildiff import build
from taildiff.data.batches import Batch
from taildiff.data.longtail import exponential
from taildiff.errors import DataError, SpecError
from taildiff.objectives.objective import Streams
from taildiff.recipes import (
    FIXED,
    FOR_DATA,
    METHODS,
    NAMES,
    auto,
    auto_ccua,
    auto_sit_ccua,
    check_data,
    describe,
    recipe,
    with_method,
)
from taildiff.run.layout import RunDir
from taildiff.spec import (
    ALSpec,
    CBDMSpec,
    CodecFacts,
    CORALSpec,
    DataFacts,
    DiffROPSpec,
    DispersiveSpec,
    ObjectiveSpec,
    RunSpec,
    SiTSpec,
    TransferSpec,
    UCLSpec,
    UNetSpec,
)
from taildiff.training.request import StopRule
from taildiff.training.session import run_training

LATENTS = CodecFacts(source="vae", kind="AutoencoderKL", hash="0", channels=4, height=32, width=32, scaling=0.18215)
SIZES = {"mnist5k": (28, 1, 10), "cifar10lt": (32, 3, 10), "cifar100lt": (32, 3, 100), "tinyimagenetlt": (64, 3, 200)}
SIZES |= {"placeslt": (64, 3, 365), "imagenetlt64": (64, 3, 1000), "imagenetlt256": (256, 3, 1000)}


def facts_for(name: str) -> DataFacts:
    """Of the dataset that a recipe is for."""
    size, channels, classes = SIZES[name.split("-")[0]]
    names = tuple(f"c{k}" for k in range(classes))
    codec = LATENTS if size == 256 else None
    return DataFacts(
        height=size, width=size, channels=channels, class_names=names, counts=(100,) * classes, codec=codec
    )


@pytest.mark.parametrize("name", [name for name in FIXED if name.startswith("mnist5k")])
def test_each_method_trains_for_some_steps(name, make_store, tmp_path):
    store = make_store(tmp_path / "store", counts=(30, 12, 10), size=28)
    spec = recipe(name).model_copy(update={"batch_size": 8})
    spec = spec.model_copy(update={"data": spec.data.model_copy(update={"ratio": 0.1})})
    run = RunDir(tmp_path / "run")
    outcome = run_training(run, spec, store, StopRule(step=2))
    assert outcome.step == 2
    assert run.weight_steps() == [2]


@given(
    size=st.sampled_from([8, 16, 20, 28, 32, 48, 64]),
    channels=st.sampled_from([1, 3]),
    counts=st.lists(st.integers(1, 20_000), min_size=2, max_size=6),
)
def test_auto_fits_any_data(size, channels, counts):
    names = tuple(f"c{i}" for i in range(len(counts)))
    facts = DataFacts(height=size, width=size, channels=channels, class_names=names, counts=tuple(counts))
    spec = auto_ccua(facts)
    assert RunSpec.model_validate(spec.model_dump()) == spec
    assert size >> (len(spec.model.channels) - 1) >= 4
    assert spec.data.flip == (channels == 3)
    with torch.device("meta"):
        build.denoiser(spec.model, facts)


@given(
    height=st.integers(4, 80),
    width=st.integers(4, 80),
    channels=st.sampled_from([1, 3, 4]),
    counts=st.lists(st.integers(1, 60_000), min_size=2, max_size=4),
)
def test_auto_sit_fits_any_data(height, width, channels, counts):
    names = tuple(f"c{i}" for i in range(len(counts)))
    facts = DataFacts(height=height, width=width, channels=channels, class_names=names, counts=tuple(counts))
    spec = auto_sit_ccua(facts)
    assert RunSpec.model_validate(spec.model_dump()) == spec
    assert height % spec.model.patch == width % spec.model.patch == 0
    small = spec.model.model_copy(update={"depth": 1, "width": 12, "heads": 1})
    with torch.device("meta"):
        build.denoiser(small, facts)


@pytest.mark.parametrize(("size", "patch"), [(28, 2), (32, 2), (64, 4), (16, 1), (20, 1), (256, 16)])
def test_auto_sit_has_about_256_tokens(size, patch):
    facts = DataFacts(height=size, width=size, channels=3, class_names=("a", "b"), counts=(9, 9))
    assert auto_sit_ccua(facts).model.patch == patch
    assert 196 <= (size // patch) ** 2 <= 400


def test_auto_fits_latents_by_their_own_size():
    facts = facts_for("imagenetlt256")
    spec = auto_ccua(facts)
    assert spec.model == auto_ccua(facts.model_copy(update={"codec": None, "height": 32, "width": 32})).model
    assert spec.data.flip
    assert not auto_ccua(facts.model_copy(update={"channels": 1})).data.flip  # latents of digits


@pytest.mark.parametrize("name", FOR_DATA)
def test_the_method_of_auto_recipes_is_one_constant(name: str, monkeypatch: pytest.MonkeyPatch):
    facts = facts_for("cifar10lt")
    assert recipe(name, facts) == recipe(name, facts, "ccua")
    monkeypatch.setattr(auto, "METHOD", "ccua-shared")
    assert recipe(name, facts) == recipe(name, facts, "ccua-shared") != recipe(name, facts, "ccua")
    assert describe(name).endswith("Method: ccua-shared; --method names another.")


def test_names_and_descriptions():
    for name in FIXED:
        assert recipe(name).recipe == name
    for name in NAMES:
        assert f"taildiff train {name} " in describe(name)
    assert set(NAMES) == {*FIXED, "auto-ccua", "auto-sit-ccua"}
    with pytest.raises(SpecError, match="did you mean 'mnist5k-ccua'"):
        recipe("mnist5k-cuca")
    with pytest.raises(SpecError, match="add --data STORE"):
        recipe("auto-ccua")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("mnist5k-plain", 0.637e6),
        ("cifar10lt", 35.7e6),
        ("cifar100lt-0.001", 35.8e6),
        ("tinyimagenetlt", 35.8e6),
        ("imagenetlt64", 36.3e6),
        ("cifar10lt-sit-ccua", 32.5e6),
        ("imagenetlt256-oltr-sit-s2", 32.9e6),  # official: 33 M, 130 M and 675 M
        ("imagenetlt256-sit-b2", 130.3e6),
        ("imagenetlt256-sit-xl2", 674.8e6),
    ],
)
def test_networks_have_the_published_sizes(name: str, parameters: float):
    with torch.device("meta"):
        network = build.denoiser(recipe(name).model, facts_for(name))
    assert build.parameters(network) == pytest.approx(parameters, rel=0.003)


def test_an_official_checkpoint_has_the_layout_that_the_option_asks_for():
    model = recipe("imagenetlt256-sit-xl2").model.model_copy(update={"learn_sigma": True})
    with torch.device("meta"):
        network = build.denoiser(model, facts_for("imagenetlt256"))
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes["final_layer.linear.weight"] == (2 * 2 * 8, 1152)
    assert shapes["y_embedder.embedding_table.weight"] == (1001, 1152)
    assert shapes["pos_embed"] == (1, 256, 1152)
    assert shapes["blocks.27.attn.qkv.weight"] == (3456, 1152)


@pytest.mark.parametrize("name", [name for name in FIXED if isinstance(recipe(name).model, UNetSpec)])
def test_attention_is_at_16x16(name: str):
    model, facts = recipe(name).model, facts_for(name)
    assert isinstance(model, UNetSpec)
    sides = [facts.shape[1] >> level for level in model.attention]
    assert sides == ([] if name.startswith("mnist5k") else [16])


@pytest.mark.parametrize(
    ("name", "classes", "each", "images"),
    [
        ("cifar10lt", 10, 5000, 12_406),
        ("cifar10lt-sit-ccua", 10, 5000, 12_406),
        ("cifar100lt", 100, 500, 10_847),
        ("cifar100lt-0.001", 100, 500, 7_371),
        ("tinyimagenetlt", 200, 500, 21_549),
    ],
)
def test_tails_have_the_published_counts(name: str, classes: int, each: int, images: int):
    data = recipe(name).data
    labels = np.repeat(np.arange(classes), each)
    kept = exponential(labels, data.ratio, data.tail_seed, min_per_class=data.min_per_class)
    assert (data.tail, len(kept)) == ("exp", images)
    assert np.bincount(labels[kept], minlength=classes).min() >= 1


def test_the_paper_resamples_these_and_no_others():
    law = {name: recipe(name).data.resample for name in FIXED}
    on = ("mnist5k", "tinyimagenetlt", "imagenetlt64", "imagenetlt256")
    assert law == {name: 0.1 if name.startswith(on) else None for name in FIXED}
    for method in METHODS:
        assert recipe("tinyimagenetlt", method=method).data == recipe("tinyimagenetlt").data
        assert recipe("placeslt", method=method).data.resample is None


U_NET = {
    "plain": ObjectiveSpec(),
    "ccua": ObjectiveSpec(ucl=UCLSpec(weight=1), al=ALSpec(weight=1)),
    "ccua-cheap": ObjectiveSpec(ucl=UCLSpec(weight=1), al=ALSpec(weight=1), null_fraction=0.25),
    "ccua-shared": ObjectiveSpec(ucl=UCLSpec(weight=1), al=ALSpec(weight=1), shared_null=0.1),
    "cbdm": ObjectiveSpec(cbdm=CBDMSpec(weight=1)),
    "t2h": ObjectiveSpec(transfer=TransferSpec(mode="t2h")),
    "dispersive": ObjectiveSpec(dispersive=DispersiveSpec(weight=0.25)),
    "diffrop": ObjectiveSpec(diffrop=DiffROPSpec(weight=0.1)),
    "coral": ObjectiveSpec(coral=CORALSpec(weight=0.5, scaling="release")),
}


def with_weight(weight: float) -> dict[str, ObjectiveSpec]:
    blocks = {"ucl": UCLSpec(weight=weight), "al": ALSpec(weight=weight)}
    return {name: U_NET[name].model_copy(update=blocks) for name in ("ccua", "ccua-cheap", "ccua-shared")}


SIT = with_weight(0.05) | {"dispersive": ObjectiveSpec(dispersive=DispersiveSpec(weight=0.25, tap="depth.1"))}
FLOW = with_weight(0.05)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", NAMES)
def test_a_method_is_its_published_objective_on_every_recipe(name: str, method: str):
    facts = facts_for("cifar10lt") if name.startswith("auto") else facts_for(name)
    spec, own = recipe(name, facts, method), recipe(name, facts)
    others = SIT if "sit" in name else FLOW if name.startswith(("mnist5k", "auto")) else {}
    assert spec.objective == others.get(method, U_NET[method])
    assert spec.model_copy(update={"objective": own.objective}) == own
    assert RunSpec.model_validate(spec.model_dump()) == spec


def test_recipes_with_a_method_in_their_name_are_that_method():
    for name in FIXED:
        ends = [method for method in METHODS if name.endswith(f"-{method}")]
        assert recipe(name) == with_method(recipe(name), max(ends, key=len, default="ccua"))
    twins = [recipe(name) for name in ("cifar10lt-plain", "cifar10lt-ccua")]
    same = [recipe("cifar10lt", method=method) for method in ("plain", "ccua")]
    assert [twin.model_copy(update={"recipe": "cifar10lt"}) for twin in twins] == same


def test_dropping_of_labels_stays_when_the_method_changes():
    spec = recipe("cifar10lt")
    dropping = spec.objective.drop.model_copy(update={"policy": "per_batch"})
    spec = spec.model_copy(update={"objective": spec.objective.model_copy(update={"drop": dropping})})
    assert with_method(spec, "cbdm").objective == U_NET["cbdm"].model_copy(update={"drop": dropping})
    with pytest.raises(SpecError, match=r"shared_null drops no label: remove drop\.policy per_batch"):
        with_method(spec, "ccua-shared")


def test_wrong_methods_are_refused():
    with pytest.raises(SpecError, match="unknown method 'dispersve': did you mean 'dispersive'"):
        recipe("cifar100lt", method="dispersve")
    with pytest.raises(SpecError, match=r"objective\.ucl compares the samples .* at least 2"):
        with_method(recipe("cifar10lt-plain").model_copy(update={"batch_size": 1}), "ccua")


@pytest.mark.parametrize("name", [name for name in FIXED if name.startswith("imagenetlt256")])
def test_latent_recipes_refuse_pixels(name: str):
    facts = facts_for(name)
    check_data(recipe(name), facts)
    with pytest.raises(DataError, match=r"trains on latents.*256x256, 16,384 tokens.*taildiff data encode STORE --vae"):
        check_data(recipe(name), facts.model_copy(update={"codec": None}))


def test_the_recipe_of_a_list_refuses_all_of_imagenet():
    spec = recipe("imagenetlt256-oltr-sit-s2")
    counts = (1281,) * 1000
    whole = facts_for("imagenetlt256").model_copy(update={"counts": counts})
    with pytest.raises(DataError, match=r"115,846 images .* has 1,281,000 .* --data\.tail list --data\.list"):
        check_data(spec, whole)
    cut = {"data": spec.data.model_copy(update={"tail": "list", "list": Path("ImageNet_LT_train.txt")})}
    check_data(spec.model_copy(update=cut), whole)
    check_data(spec, whole.model_copy(update={"counts": (115,) * 1000}))
    check_data(recipe("imagenetlt256-sit-s2"), whole)
    check_data(recipe("imagenetlt64"), facts_for("imagenetlt64"))


@pytest.mark.parametrize("name", ["imagenetlt64", "placeslt", "imagenetlt256-sit-b2"])
def test_a_published_list_is_not_cut_once_more(name: str):
    spec, facts = recipe(name), facts_for(name)
    listed = facts.model_copy(update={"counts": (1280, *[5] * (facts.classes - 1))})
    with pytest.raises(DataError, match=r"long-tailed already \(1,280 to 5 images per class\).*--data\.tail natural"):
        check_data(spec, listed)
    check_data(spec, facts.model_copy(update={"counts": (1300, *[732] * (facts.classes - 1))}))
    check_data(spec.model_copy(update={"data": spec.data.model_copy(update={"tail": "natural"})}), listed)


@pytest.mark.parametrize("method", ["ccua", "dispersive"])
def test_a_small_copy_of_the_latent_recipe_takes_a_step(method: str):
    """Its precision, path and objective on a narrow network; where the latents come from is tested elsewhere."""
    spec = recipe("imagenetlt256-sit-s2", method=method)
    spec = spec.model_copy(update={"model": SiTSpec(depth=4, width=32, heads=2, patch=spec.model.patch)})
    facts = facts_for("imagenetlt256")
    torch.manual_seed(0)
    learner = build.learner(spec, facts, facts.counts)
    before = [parameter.clone() for parameter in learner.parameters()]
    optimizer = torch.optim.AdamW(learner.parameters(), lr=spec.optimizer.lr)
    for step in range(2):
        batch = Batch(torch.randn(4, *facts.shape), torch.tensor([0, 1, 500, 999]))
        draws = learner.objective.draw(4, batch.x.shape[1:], Streams(0, step, torch.device("cpu")))
        loss = learner(batch, draws)
        assert loss.total.isfinite()
        assert loss.total.dtype == torch.float32
        loss.total.backward()
        optimizer.step()
        optimizer.zero_grad()
    moved = [not torch.equal(old, new) for old, new in zip(before, learner.parameters(), strict=True)]
    assert sum(moved) > len(moved) / 2
