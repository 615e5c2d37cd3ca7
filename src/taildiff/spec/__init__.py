"""Frozen specs of a run; the command line, `run.json` and the objects are made from them.

The unions (`PathSpec`, `ModelSpec`) are the registry: `build.py` has one `match` per union. Nothing here imports torch,
so `taildiff --help` and reading a run are fast.
"""

from taildiff.spec.base import Spec, explain, field_names, flatten, parse
from taildiff.spec.data import CodecFacts, DataFacts, DataSpec
from taildiff.spec.evaluation import EvalSpec
from taildiff.spec.metrics import CHEAP, METRICS, Metric, MetricName
from taildiff.spec.model import ModelHints, ModelSpec, SiTSpec, UNetSpec
from taildiff.spec.objective import (
    ALSpec,
    CBDMSpec,
    CORALSpec,
    CustomSpec,
    DiffROPSpec,
    DispersiveSpec,
    LabelDropSpec,
    ObjectiveSpec,
    TermSpec,
    TransferSpec,
    UCLSpec,
)
from taildiff.spec.process import DDPMSpec, FlowSpec, PathSpec
from taildiff.spec.run import EMASpec, IntervalSpec, OptimizerSpec, RunSpec
from taildiff.spec.sampling import SamplerName, SamplingSpec, SpacingName, Variance

__all__ = [
    "CHEAP",
    "METRICS",
    "ALSpec",
    "CBDMSpec",
    "CORALSpec",
    "CodecFacts",
    "CustomSpec",
    "DDPMSpec",
    "DataFacts",
    "DataSpec",
    "DiffROPSpec",
    "DispersiveSpec",
    "EMASpec",
    "EvalSpec",
    "FlowSpec",
    "IntervalSpec",
    "LabelDropSpec",
    "Metric",
    "MetricName",
    "ModelHints",
    "ModelSpec",
    "ObjectiveSpec",
    "OptimizerSpec",
    "PathSpec",
    "RunSpec",
    "SamplerName",
    "SamplingSpec",
    "SiTSpec",
    "SpacingName",
    "Spec",
    "TermSpec",
    "TransferSpec",
    "UCLSpec",
    "UNetSpec",
    "Variance",
    "explain",
    "field_names",
    "flatten",
    "parse",
]
