"""The importers, one file per family of formats: each file lists its records in `IMPORTERS`, and this one the files."""

import importlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taildiff.errors import InputError, unknown

if TYPE_CHECKING:
    from taildiff.data.formats.importer import Importer
    from taildiff.data.source import Found

MODULES = (
    *("digits", "folder", "table", "npz", "parquet"),
    *("idx", "cifar", "tinyimagenet", "imagenet", "places", "inaturalist"),
)
"""Modules of this package that hold importers, in the order of the help; imported only when importers are used."""


@cache
def importers() -> "Mapping[str, Importer]":
    """All importers by name."""
    modules = [importlib.import_module(f"{__name__}.{name}") for name in MODULES]
    return {importer.name: importer for module in modules for importer in module.IMPORTERS}


def find(name: str, source: Path | str | None = None, options: Mapping[str, object] | None = None) -> "Found":
    """The images that the importer `name` finds in `source`, ready for `taildiff.data.prepare.prepare`.

    `options` are those of the importer, by parameter name, such as `{"names": "names.txt"}`; None counts as not given.
    """
    importer = importers().get(name)
    if importer is None:
        raise InputError(unknown("importer", name, importers()))
    given = _check_options(importer, options or {})
    if not importer.source and source is not None:
        raise InputError(f"{name} comes with a package and takes no SOURCE; remove {source}")
    if not importer.source:
        return importer.find(**given)
    if source is None:
        raise InputError(f"{name} needs a SOURCE, a {importer.source}:\n{importer.usage}")
    return importer.find(Path(source), **given)


def _check_options(importer: "Importer", options: Mapping[str, object]) -> dict[str, Any]:
    given = {key: value for key, value in options.items() if value is not None}
    for key in (key for key in given if key not in importer.options):
        others = [other for other in importers().values() if key in other.options]
        if not others:
            raise InputError(unknown("option", key, importer.options))
        raise InputError(f"{others[0].options[key].flag} is for {_listed(others)}, not {importer.name}")
    return {key: importer.options[key].check(value) for key, value in given.items()}


def _listed(importers: "list[Importer]") -> str:
    *most, last = (importer.name for importer in importers)
    return f"{', '.join(most)} and {last}" if most else last
