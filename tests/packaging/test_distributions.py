"""The sdist and the wheel built from it, installed without the source tree and used from another folder."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import taildiff
from taildiff.data.store import Store

ROOT = Path(__file__).parents[2]


def run(*command: object, cwd: Path) -> str:
    """What a command prints; it sees no source tree and no option of Python."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, env=kept)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel that is built from its content alone."""
    place = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", place, cwd=ROOT)
    (sdist,) = place.glob("taildiff-*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(place, filter="data")
    source = place / sdist.name.removesuffix(".tar.gz")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", place, cwd=source)
    (wheel,) = place.glob("taildiff-*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def clean(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new environment with the wheel, and the installed dependencies beside it; no source tree."""
    place = tmp_path_factory.mktemp("clean")
    venv.create(place, with_pip=False)
    bin = place / ("Scripts" if os.name == "nt" else "bin")
    install = (sys.executable, "-m", "pip", "--python", bin / "python", "install", "-q", "--no-deps", "--no-index")
    run(*install, built[1], cwd=place)
    site = run(bin / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=place).strip()
    # the folder is searched, but .pth files in it, such as that of an editable taildiff, are not read
    (Path(site) / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return bin


def test_the_sdist_has_what_a_contributor_needs_and_the_wheel_the_package_alone(built: tuple[Path, Path]):
    sdist, wheel = built
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    top = {path.name for path in ROOT.glob("*") if path.suffix in (".md", ".toml", ".txt", ".cff")}
    assert inside >= top | {"Makefile", "LICENSE", "tests/conftest.py", "docs/index.md"}
    assert not [name for name in inside if name.startswith(("runs", "data", ".venv", "dist", "docs/_build"))]
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    own = (str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*") if path.is_file())
    assert {name for name in names if ".dist-info/" not in name} == {name for name in own if "__pycache__" not in name}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_wheel_works_alone_from_another_folder(clean: Path, tmp_path: Path):
    code = "import taildiff, importlib.metadata as m; print(taildiff.__file__, m.version('taildiff'))"
    file, installed = run(clean / "python", "-c", code, cwd=tmp_path).split()
    assert Path(file).is_relative_to(clean.parent)
    assert installed == taildiff.__version__
    assert "usage: taildiff VERB" in run(clean / "taildiff", "--help", cwd=tmp_path)


@pytest.mark.slow
def test_the_wheel_trains_and_reports_alone(clean: Path, tiny_store: Store, tmp_path: Path):
    few = "--steps 1 --batch-size 4 --model.depth 1 --model.width 16 --model.heads 2 --model.patch 4"
    calls = f"""
from taildiff.cli.main import main
for call in ("train auto-sit-ccua --data {tiny_store.root} --out runs/a {few}", "report runs/a"):
    assert main(call.split()) == 0, call
"""
    run(clean / "python", "-c", calls, cwd=tmp_path)
    assert "auto-sit-ccua" in (tmp_path / "runs" / "a" / "report.html").read_text()
