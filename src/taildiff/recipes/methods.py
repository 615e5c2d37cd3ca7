"""One method for any recipe: the objective with the published weights for its network and process.

| network, process | CCUA's alpha = gamma | source |
|---|---|---|
| U-Net that predicts noise (DDPM) | 1 | the paper |
| SiT | 0.05 | the paper |
| U-Net that predicts a velocity (flow) | 0.05 | ours, chosen on long-tailed digits: no paper has this pair |

`ccua-cheap` and `ccua-shared` (ours) have the same weights with fewer rows (see `objectives/ccua.py`).

Class resampling belongs to the recipe's data, not to a method, so that methods are compared on the same images.
"""

from collections.abc import Callable, Mapping

from taildiff.errors import SpecError, unknown
from taildiff.spec import (
    ALSpec,
    CBDMSpec,
    CORALSpec,
    DiffROPSpec,
    DispersiveSpec,
    ObjectiveSpec,
    RunSpec,
    TransferSpec,
    UCLSpec,
    parse,
)

_CCUA_WEIGHTS = {("unet", "ddpm"): 1.0, ("unet", "flow"): 0.05, ("sit", "ddpm"): 0.05, ("sit", "flow"): 0.05}
_DISPERSIVE_TAPS = {"unet": "middle", "sit": "depth.1"}
"""The PyTorch release is about transformers and takes the last block."""


def with_method(spec: RunSpec, method: str) -> RunSpec:
    """`spec` with the objective of `method`, one of `METHODS`; everything else stays, including how labels are dropped.

    Raises SpecError for an unknown method, for a network that the method has no setting for, and when the method
    compares samples and the batch has only one.
    """
    if method not in METHODS:
        raise SpecError(unknown("method", method, METHODS))
    objective = METHODS[method](spec).model_copy(update={"drop": spec.objective.drop})
    return parse(RunSpec, spec.model_dump() | {"objective": objective.model_dump()})


def ccua_weight(spec: RunSpec) -> float:
    """Alpha and gamma of CCUA, which are equal in every setting."""
    weight = _CCUA_WEIGHTS.get((spec.model.kind, spec.path.kind))
    if weight is None:
        raise _no_setting("ccua", spec)
    return weight


def _ccua(spec: RunSpec) -> ObjectiveSpec:
    weight = ccua_weight(spec)
    return ObjectiveSpec(ucl=UCLSpec(weight=weight), al=ALSpec(weight=weight))


def _ccua_on(**rows: float) -> Callable[[RunSpec], ObjectiveSpec]:
    return lambda spec: _ccua(spec).model_copy(update=rows)


def _dispersive(spec: RunSpec) -> ObjectiveSpec:
    tap = _DISPERSIVE_TAPS.get(spec.model.kind)
    if tap is None:
        raise _no_setting("dispersive", spec)
    return ObjectiveSpec(dispersive=DispersiveSpec(weight=0.25, tap=tap))


def _no_setting(method: str, spec: RunSpec) -> SpecError:
    return SpecError(
        f"method {method} has no setting for the network '{spec.model.kind}' with the process '{spec.path.kind}': "
        "use --method plain and set --objective.* yourself, or add the setting to taildiff/recipes/methods.py"
    )


METHODS: Mapping[str, Callable[[RunSpec], ObjectiveSpec]] = {
    "plain": lambda _: ObjectiveSpec(),
    "ccua": _ccua,
    "ccua-cheap": _ccua_on(null_fraction=0.25),
    "ccua-shared": _ccua_on(shared_null=0.1),
    "cbdm": lambda _: ObjectiveSpec(cbdm=CBDMSpec(weight=1.0)),
    "t2h": lambda _: ObjectiveSpec(transfer=TransferSpec(mode="t2h")),
    "dispersive": _dispersive,
    "diffrop": lambda _: ObjectiveSpec(diffrop=DiffROPSpec(weight=0.1)),
    "coral": lambda _: ObjectiveSpec(coral=CORALSpec(weight=0.5, scaling="release")),
}
"""Name -> the objective for a run's network and process."""
