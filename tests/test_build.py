"""Everything that a spec can name is built; a registration that is missing fails here."""

from typing import Any, ClassVar, get_args

import pytest
import torch

from taildiff import build
from taildiff.diffusion.random_tensors import RandomTensors
from taildiff.errors import SpecError
from taildiff.objectives.objective import Need, Step, Term
from taildiff.objectives.views import GIVEN
from taildiff.recipes import METHODS, recipe, with_method
from taildiff.spec import (
    DataFacts,
    ModelSpec,
    ObjectiveSpec,
    PathSpec,
    RunSpec,
    SamplerName,
    SamplingSpec,
    SpacingName,
    Spec,
    TermSpec,
)

FACTS = DataFacts(height=8, width=8, channels=1, class_names=("a", "b", "c"), counts=(5, 3, 2))
NETWORKS, PROCESSES = (get_args(get_args(union)[0]) for union in (ModelSpec, PathSpec))
BLOCKS = {name: type(block) for name, block in ObjectiveSpec() if isinstance(block, TermSpec)}
NEEDED = {"custom": {"term": "test_build:Example", "args": {"name": "custom"}}}
"""Fields without which a block has no term."""


class Example(Term):
    """A term of the user's own."""

    def __init__(self, name: str):
        super().__init__()
        self.name, self.needs = name, (Need(GIVEN),)

    def forward(self, step: Step) -> torch.Tensor:
        return step.prediction(GIVEN).square().flatten(1).mean(1)


def settings(block: type[Spec]) -> list[dict[str, Any]]:
    """The default, and each other choice of every field that is a choice of names."""
    choices = {name: get_args(field.annotation) for name, field in block.model_fields.items()}
    named = {name: values for name, values in choices.items() if all(isinstance(value, str) for value in values)}
    return [{}, *({name: value} for name, values in named.items() for value in values)]


@pytest.mark.parametrize("kind", PROCESSES)
def test_every_process_is_built(kind: type[Any]):
    assert build.process(kind()).draw(3, RandomTensors(0, "level")).shape == (3,)


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_network_is_built(kind: type[Any]):
    with torch.device("meta"):
        network = build.denoiser(kind(), FACTS)
    assert network.null_label == FACTS.classes


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_every_sampler_is_built(name: SamplerName):
    process = build.process(PROCESSES[0]())
    assert callable(build.sampler(SamplingSpec(sampler=name), process).step)


@pytest.mark.parametrize("name", get_args(SpacingName))
def test_every_spacing_is_built(name: SpacingName):
    process = build.process(PROCESSES[0]())
    assert len(build.times(SamplingSpec(spacing=name, steps=4), process)) == 5


@pytest.mark.parametrize(("name", "block"), BLOCKS.items())
def test_every_block_of_the_objective_is_built(name: str, block: type[TermSpec]):
    network = build.denoiser(RunSpec().model.model_copy(update={"channels": (8, 8)}), FACTS)
    for changes in settings(block):
        spec = ObjectiveSpec.model_validate({name: {"weight": 0.5} | NEEDED.get(name, {}) | changes})
        objective = build.objective(spec, build.process(PROCESSES[0]()), FACTS.counts, network)
        assert objective.weights == (1.0, 0.5)
        assert objective.names == ("denoising", name)
        assert list(spec.terms) == [name]


def test_whatever_has_a_weight_is_a_block():
    assert {name for name, block in ObjectiveSpec() if "weight" in getattr(block, "__dict__", {})} == set(BLOCKS)


def test_which_blocks_compare_samples():
    blocks = {name: {"weight": 1} | NEEDED.get(name, {}) for name in BLOCKS}
    assert {name for name in BLOCKS if BLOCKS[name](**blocks[name]).needs_pairs} == {"ucl", "dispersive", "coral"}
    everything = blocks | {"diffrop": {"weight": 1, "form": "permuted"}}
    spec = ObjectiveSpec.model_validate(everything)
    assert spec.compares_samples == ("ucl", "dispersive", "diffrop", "coral")
    assert ObjectiveSpec().compares_samples == ()


@pytest.mark.parametrize("block", BLOCKS.values())
def test_a_block_that_can_gather_compares_samples(block: type[TermSpec]):
    assert block.compares_samples == ("gather" in block.model_fields)


def test_a_block_must_state_whether_it_compares_samples():
    with pytest.raises(TypeError, match="BarlowSpec must set compares_samples"):
        type("BarlowSpec", (TermSpec,), {"__module__": __name__})


def test_a_block_without_a_case_raises():
    class Barlow(TermSpec):
        compares_samples: ClassVar[bool] = True

    network = build.denoiser(RunSpec().model, FACTS)
    with pytest.raises(NotImplementedError, match=r"build\.term has no case for Barlow"):
        build.term(Barlow(weight=1), ObjectiveSpec(), FACTS.counts, network)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("network", NETWORKS)
def test_every_method_has_a_setting_for_every_network_and_process(network: Any, process: Any, method: str):
    spec = recipe("mnist5k-plain").model_copy(update={"model": network(), "path": process()})
    with_method(spec, method)


@pytest.mark.parametrize("method", ["ccua", "dispersive"])
def test_an_unknown_network_never_gets_the_weights_of_another(method: str):
    class Other(Spec):
        kind: str = "mixer"

    spec = recipe("mnist5k-plain").model_copy(update={"model": Other()})
    with pytest.raises(SpecError, match=f"method {method} has no setting for the network 'mixer'"):
        with_method(spec, method)


def test_a_term_has_a_name_and_needs():
    with pytest.raises(TypeError, match="abstract"):
        Term()
