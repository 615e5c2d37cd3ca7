"""One method for any recipe: the objective with the published weights for its network and process.

| network, process | CCUA's alpha = gamma | source |
|---|---|---|
| U-Net that predicts noise (DDPM) | 1 | the paper |
| SiT | 0.05 | the paper |
| U-Net that predicts a velocity (flow) | 0.2 | ours, chosen on long-tailed digits: no paper has this pair |

Class resampling is no part of a method but of the recipe's data, so that methods are compared under the same images.
"""

from taildiff.errors import SpecError, unknown
from taildiff.spec import (
    ALSpec,
    CBDMSpec,
    CORALSpec,
    DDPMSpec,
    DiffROPSpec,
    DispersiveSpec,
    ObjectiveSpec,
    RunSpec,
    SiTSpec,
    TransferSpec,
    UCLSpec,
    parse,
)

METHODS = ("plain", "ccua", "cbdm", "t2h", "dispersive", "diffrop", "coral")


def with_method(spec: RunSpec, method: str) -> RunSpec:
    """`spec` with the objective of `method`, one of `METHODS`; all else stays, also how labels are dropped.

    Raises SpecError for another name, or when the method compares samples and the batch has one only.
    """
    objective = _objective(spec, method).model_copy(update={"drop": spec.objective.drop})
    return parse(RunSpec, spec.model_dump() | {"objective": objective.model_dump()})


def _objective(spec: RunSpec, method: str) -> ObjectiveSpec:
    match method:
        case "plain":
            return ObjectiveSpec()
        case "ccua":
            weight = ccua_weight(spec)
            return ObjectiveSpec(ucl=UCLSpec(weight=weight), al=ALSpec(weight=weight))
        case "cbdm":
            return ObjectiveSpec(cbdm=CBDMSpec(weight=1.0))
        case "t2h":
            return ObjectiveSpec(transfer=TransferSpec(mode="t2h"))
        case "dispersive":  # the PyTorch release is about transformers and takes the last block
            tap = "depth.1" if isinstance(spec.model, SiTSpec) else "middle"
            return ObjectiveSpec(dispersive=DispersiveSpec(weight=0.25, tap=tap))
        case "diffrop":
            return ObjectiveSpec(diffrop=DiffROPSpec(weight=0.1))
        case "coral":
            return ObjectiveSpec(coral=CORALSpec(weight=0.5, scaling="release"))
        case _:
            raise SpecError(unknown("method", method, METHODS))


def ccua_weight(spec: RunSpec) -> float:
    """Alpha and gamma of CCUA, which are equal in every setting."""
    if isinstance(spec.model, SiTSpec):
        return 0.05
    return 1.0 if isinstance(spec.path, DDPMSpec) else 0.2
