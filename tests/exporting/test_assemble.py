"""Files assembled from the package's sources: complete, without the package, and refused where they would be wrong."""

import ast
import importlib
import sys
from pathlib import Path

import pytest

from taildiff.exporting import assemble as module
from taildiff.exporting.assemble import assemble


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("taildiff.exporting.pipeline", "TaildiffPipeline"),
        ("taildiff.exporting.modeling", "TaildiffTransformer"),
    ],
)
def test_the_exported_files_import_neither_taildiff_nor_pydantic(source: str, name: str):
    tree = ast.parse(assemble(source, name, "title"))
    imports = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imports += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    allowed = {"torch", "numpy", "diffusers", "PIL", "__future__", *sys.stdlib_module_names}
    assert {str(each).split(".")[0] for each in imports} <= allowed
    defined = [node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    assert defined.count(name) == 1
    assert len(defined) == len(set(defined))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty package `made_up`, whose modules are assembled in place of taildiff's."""
    folder = tmp_path / "made_up"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(module, "PACKAGE", "made_up")
    module._read.cache_clear()
    sys.modules.pop("made_up", None)
    importlib.invalidate_caches()
    return folder


def test_only_what_is_used_comes_along(package: Path):
    (package / "low.py").write_text("import math\nimport json\nPI = math.pi\ndef unused(): return json\n")
    (package / "mid.py").write_text(
        "from made_up.low import PI\nclass Kept:\n    def area(self, r): return PI * r**2\n"
    )
    (package / "top.py").write_text(
        "from made_up import mid\nfrom made_up.types import Never\n"
        "def total(kept: Never, r):\n    return mid.Kept().area(r), 'mid.Kept'  # of mid\n"
    )
    text = assemble("made_up.top", "total", "Areas.")
    scope: dict = {}
    exec(text, scope)
    assert scope["total"](None, 2.0)[0] == pytest.approx(12.566, abs=1e-3)
    assert "unused" not in text
    assert "json" not in text
    assert text.index("PI = ") < text.index("class Kept") < text.index("def total")


def test_files_that_would_be_wrong_are_refused(package: Path):
    (package / "a.py").write_text("def same(): return 1\n")
    (package / "b.py").write_text("def same(): return 2\n\n\ndef other(): return same()\n")
    for name, text, message in (
        (
            "twice",
            "from made_up.a import same\nfrom made_up.b import other\ndef f(): return same() + other()\n",
            "same is",
        ),
        (
            "value",
            "from made_up import a\ndef f(): return getattr(a, 'same')\n",
            "uses the module made_up.a as a value",
        ),
        ("missing", "def f(): return nowhere\n", "uses nowhere"),
    ):
        (package / f"{name}.py").write_text(text)
        with pytest.raises(AssertionError, match=message):
            assemble(f"made_up.{name}", "f", "title")
