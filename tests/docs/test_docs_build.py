"""The documentation builds without a warning, in groups, and its search finds every page; CI builds it, too."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_ci_builds_the_documentation_with_warnings_as_errors():
    assert "make docs" in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert "-m sphinx -W" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_index_is_grouped_and_says_which_images_need_latents():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    groups = index.split("```{toctree}")[1:]
    assert len(groups) >= 6
    for group in groups:
        assert ":caption: " in group
        pages = [line for line in group.partition("```")[0].splitlines() if line and not line.startswith((":", " "))]
        assert 2 <= len(pages) <= 6
    assert index.index("Up to 64×64 pixels") < index.index("```{toctree}")


@pytest.mark.slow
def test_the_documentation_builds_without_a_warning(tmp_path: Path):
    for module in ("sphinx", "furo", "myst_parser"):
        pytest.importorskip(module)
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    search = (tmp_path / "searchindex.js").read_text(encoding="utf-8")
    assert all(f'"{path.stem}"' in search for path in (ROOT / "docs").glob("*.md"))
    assert "imb_factor" in search
    assert "dispersive" in search
    assert 'role="search"' in (tmp_path / "index.html").read_text(encoding="utf-8")
    spec = (tmp_path / "api.html").read_text(encoding="utf-8")
    assert "Guidance of the head, body or tail: thirds of the classes" in spec.replace("\n", " ")
