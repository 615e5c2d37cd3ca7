"""The registry of importers is complete, and its records match the functions."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import sources

from taildiff.data import formats
from taildiff.data.formats import find, importers
from taildiff.data.formats.importer import Importer
from taildiff.errors import InputError

FILES = sorted(path.stem for path in Path(formats.__file__).parent.glob("[!_]*.py"))


def test_every_find_function_is_registered():
    registered = {importer.find for importer in importers().values()}
    for name in FILES:
        module = importlib.import_module(f"taildiff.data.formats.{name}")
        finders = [value for key, value in vars(module).items() if key.startswith("find_") and callable(value)]
        own = [value for value in finders if value.__module__ == module.__name__]
        missing = [value.__name__ for value in own if value not in registered]
        assert not missing, f"{name}.py: add an Importer for {missing} to its IMPORTERS"
        assert not own or name in formats.MODULES, f"add {name!r} to MODULES of taildiff.data.formats"
        records = [value for value in vars(module).values() if isinstance(value, Importer)]
        assert not records, f"{name}.py: records belong in IMPORTERS"


def test_names_are_unique():
    modules = [importlib.import_module(f"taildiff.data.formats.{name}") for name in formats.MODULES]
    names = [importer.name for module in modules for importer in module.IMPORTERS]
    assert sorted(names) == sorted(set(names)) == sorted(importers())


@pytest.mark.parametrize("importer", importers().values(), ids=importers())
def test_records_match_the_functions(importer):
    first, *others = [*inspect.signature(importer.find).parameters.values(), None] if importer.source else [None]
    assert first is None or first.default is inspect.Parameter.empty
    assert [option.name for option in importer.options.values()] == [each.name for each in others if each]
    assert 10 < len(importer.help) <= 80
    for option in importer.options.values():
        assert option.help.endswith((".", "]"))  # a default in brackets comes last
        assert option.default in (None, False) or option.default in get_args(get_args(option.type)[0])
        assert f"[{option.flag}" in importer.usage
    if importer.dataset:
        assert importer.dataset.instructions in importer.usage
        assert importer.dataset.importer == importer.name


def test_the_page_on_data_names_every_importer_and_option():
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    for importer in importers().values():
        assert f"`{importer.name}`" in page.partition("| importer |")[2].partition("\n\n")[0]
        for option in importer.options.values():
            assert option.flag in page, option


def test_options_from_python(tmp_path):
    sources.mnist(tmp_path)
    names = tmp_path / "names.txt"
    names.write_text("a\nb\nc\n")
    assert find("mnist", str(tmp_path), {"names": str(names)}).read().class_names == ("a", "b", "c")
    assert find("mnist", tmp_path, {"names": None, "labels": None}).read().class_names == ("0", "1", "2")
    for name, options, message in (
        ("mnst", {}, "unknown importer 'mnst': did you mean 'mnist'"),
        ("mnist", {"labels": "coarse"}, "--labels is for cifar100, not mnist"),
        ("mnist", {"nmes": "x"}, "unknown option 'nmes': did you mean 'names'"),
        ("mnist", {"names": 3}, "--names 3: .*path"),
        ("cifar100", {"labels": "medium"}, "--labels medium: .*'fine' or 'coarse'"),
        ("mnist5k", {}, "takes no SOURCE"),
    ):
        with pytest.raises(InputError, match=message):
            find(name, tmp_path, options)


def test_the_registry_does_not_import_torch():
    code = "import sys; from taildiff.data.formats import importers; importers(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
