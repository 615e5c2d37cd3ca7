"""taildiff trains, samples and evaluates class-conditional diffusion models on long-tailed image data.

    import taildiff

    run = taildiff.train("mnist5k-ccua", out="runs/ccua", steps=2000)
    images = run.load().sample([8, 9], guidance=1.5)
    print(taildiff.evaluate(run))

Names are imported at their first use, so that `import taildiff` costs nothing (PEP 562).
"""

TYPE_CHECKING = False  # true for type checkers, which spares the import of typing
if TYPE_CHECKING:
    from taildiff import study
    from taildiff.api.data import encode, export_data, prepare
    from taildiff.api.evaluation import Evaluation, evaluate
    from taildiff.api.exporting import export
    from taildiff.api.filling import Filled, fill
    from taildiff.api.gallery import gallery
    from taildiff.api.model import Model
    from taildiff.api.results import compare, report
    from taildiff.api.sampling import load, sample
    from taildiff.api.training import Interrupted, Run, train
    from taildiff.errors import TaildiffError

__version__ = "0.1.0"
__all__ = [
    "Evaluation",
    "Filled",
    "Interrupted",
    "Model",
    "Run",
    "TaildiffError",
    "__version__",
    "compare",
    "encode",
    "evaluate",
    "export",
    "export_data",
    "fill",
    "gallery",
    "load",
    "prepare",
    "report",
    "sample",
    "study",
    "train",
]
_MODULES = {
    "Evaluation": "taildiff.api.evaluation",
    "Filled": "taildiff.api.filling",
    "Interrupted": "taildiff.api.training",
    "Model": "taildiff.api.model",
    "Run": "taildiff.api.training",
    "TaildiffError": "taildiff.errors",
    "compare": "taildiff.api.results",
    "encode": "taildiff.api.data",
    "evaluate": "taildiff.api.evaluation",
    "export": "taildiff.api.exporting",
    "export_data": "taildiff.api.data",
    "fill": "taildiff.api.filling",
    "gallery": "taildiff.api.gallery",
    "load": "taildiff.api.sampling",
    "prepare": "taildiff.api.data",
    "report": "taildiff.api.results",
    "sample": "taildiff.api.sampling",
    "train": "taildiff.api.training",
}


if not TYPE_CHECKING:  # type checkers shall report unknown names

    def __getattr__(name: str) -> object:
        """The public name, from the module that defines it."""
        if name not in __all__:
            raise AttributeError(f"module 'taildiff' has no attribute {name!r}")
        from importlib import import_module

        if name not in _MODULES:
            return import_module(f"taildiff.{name}")  # which also sets the attribute
        value = globals()[name] = getattr(import_module(_MODULES[name]), name)
        return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
