"""Pages of the repository: links that lead somewhere, Python that uses names that exist, every page in the index."""

import ast
import re
from pathlib import Path

import pytest

import taildiff
from taildiff import losses

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "methods").glob("*.md")])
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    targets = [match[1] for match in LINK.finditer(page.read_text(encoding="utf-8"))]
    missing = [t for t in targets if not re.match(r"[a-z]+:", t) and not (page.parent / t).exists()]
    assert not missing


def test_the_index_names_every_page():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8").splitlines()
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    assert pages <= set(index)


def test_the_readme_uses_names_that_exist():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    used = [
        node
        for block in blocks
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    ]
    rooms = {"taildiff": taildiff, "losses": losses}
    named = [(node.value.id, node.attr) for node in used if isinstance(node.value, ast.Name)]
    assert {room for room, _ in named} >= set(rooms)
    assert not [(room, name) for room, name in named if room in rooms and not hasattr(rooms[room], name)]
