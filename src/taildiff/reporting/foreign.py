"""The evaluation of existing images as a report sees it: one run without training, sampled at an unknown guidance."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from taildiff.data.store import Store
from taildiff.errors import DataError, RunError, SpecError
from taildiff.evaluation.table import Table
from taildiff.io.json_files import read_json
from taildiff.reporting.load import Comparison, Evaluation, RunData
from taildiff.reporting.pictures import Uint8s
from taildiff.run.info import RunInfo, StoreRef
from taildiff.run.layout import EvalDir, RunDir, in_order
from taildiff.spec import DataFacts, RunSpec

AT = 1.0
"""Stands for the guidance, which is not known, in the rows of such an evaluation; never shown."""


def load_images(source: Path, home: Path) -> Comparison:
    """The newest evaluation of the images at `source`, of those in the folder `home`; `RunError` without one."""
    folders = in_order(home.glob("*/table.json"))
    if not folders:
        raise RunError(
            f"{source} is not a run (no run.json there), and as images it has not been evaluated; do that first: "
            f"taildiff evaluate {source} --data STORE"
        )
    folder = folders[-1]
    table = Table.read(folder)
    definition = table.definition
    if definition.source != "images":
        raise RunError(f"{source} is a model, not images or a run; for its numbers: taildiff compare {source} OTHER")
    again = f"evaluate again, which reuses what it has: taildiff evaluate {source} --data STORE"
    try:
        values: Any = read_json(folder.sources)
        real = StoreRef.model_validate(values["real"])
        store = Store.at_recorded(real.path, real.hash)
    except (SpecError, DataError, KeyError, TypeError, ValueError) as error:
        text = f"the real images that {source} was compared with are not known or moved ({error}); {again}"
        raise RunError(text) from None
    rows = tuple(row.model_copy(update={"guidance": AT}) if row.n_generated else row for row in table.rows)
    spec = definition.spec.model_copy(update={"guidance": (AT,)})
    table = replace(table, rows=rows, definition=definition.model_copy(update={"spec": spec}))
    facts = store.facts.model_copy(update={"counts": definition.counts or store.facts.counts})
    info = RunInfo(spec=RunSpec(), facts=DataFacts.model_validate(facts), store=real, split_hash="")
    name = definition.run
    data = RunData(name, RunDir(source), info, None, (), Evaluation(folder, table), made=_images(folder, values, store))
    return Comparison((data,), ())


def _images(folder: EvalDir, values: Any, real: Store) -> tuple[Uint8s, np.ndarray] | None:
    """The images (N, H, W, C) in the channels of the real ones, and labels (N,); None where the cache was deleted."""
    try:
        made = values["images"]
        store = Store.at_recorded(str(made["path"]), str(made["hash"]))
        labels = np.array(made["labels"], np.int64)[np.asarray(store.labels)]
        if not (labels.min() >= 0 and labels.max() < len(real.meta.class_names)):
            raise ValueError(f"its labels are {labels.min()}..{labels.max()}")
    except (DataError, KeyError):
        return None
    except (TypeError, ValueError, IndexError) as error:
        raise RunError(f"{folder.sources} is damaged ({error}); delete it and evaluate again") from None
    if store.meta.channels == real.meta.channels:
        return store.images, labels
    images = np.asarray(store.images)
    return (np.repeat(images, 3, axis=3) if real.meta.channels == 3 else images[..., :1]), labels
