"""Paths that files record are hints: they are followed to the recorded data only; otherwise an option is needed."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from cli.calls import call, said
from data import latent_sources
from evaluation import tiny
from hostile.time_limit import within
from reporting.fake_runs import make_run
from taildiff.data.latents import LatentStore, pixels_of
from taildiff.data.locate import latents_of, store_of
from taildiff.data.store import Store
from taildiff.errors import DataError, InputError
from taildiff.evaluation.table import Table
from taildiff.io.atomic import write_json
from taildiff.io.checksum import with_checksum
from taildiff.models.codec import codec, load_vae
from taildiff.reporting.load import load
from taildiff.reporting.samples import sample_sheet
from taildiff.run.info import add_checksum
from taildiff.run.layout import RunDir


@pytest.fixture(autouse=True)
def _in_time() -> Iterator[None]:
    with within(60):
        yield


def _pipe(path: Path) -> str:
    os.mkfifo(path)
    return str(path)


def _folder_with(name: str, make: Callable[[Path], object]) -> Callable[[Path], str]:
    def place(path: Path) -> str:
        path.mkdir()
        for file in ("store.json", "latents.json", "config.json") if name == "*.json" else (name,):
            make(path / file)
        return str(path)

    return place


PLACES: dict[str, Callable[[Path], str]] = {
    "nothing": str,
    "a pipe": _pipe,
    "a device": lambda _: "/dev/zero",
    "/etc": lambda _: "/etc",
    "a text file": lambda _: "/etc/passwd",
    "a folder above": lambda _: "../../x",
    "this folder": lambda _: "",
    "a path that is too long": lambda path: str(path / ("x" * 5000)),
    "a path with a null character": lambda _: "a\0b",
    "pipes for metadata": _folder_with("*.json", os.mkfifo),
    "devices for metadata": _folder_with("*.json", lambda path: path.symlink_to("/dev/zero")),
    "metadata of something else": _folder_with("*.json", lambda path: path.symlink_to("/etc/passwd")),
    "another run, damaged": _folder_with("run.json", lambda path: path.write_text("{")),
    "a link in a circle": lambda path: str(path.symlink_to(path) or path),
}
"""What a recorded path can lead to on another machine; each is made at a free path and returned as it is recorded."""


def set_path(file: Path, path: str, name: str | None = "store") -> None:
    """Change a path that may be edited by hand: of `name` in run.json, or `pixels_path` of latents.json."""
    values = json.loads(file.read_text())
    if name is None:
        values["pixels_path"] = path
    else:
        values[name]["path"] = path
    file.write_text(json.dumps(values))


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return tiny.make_run(tmp_path / "run", tiny.make_store(tmp_path / "store", (12, 12, 12)))


def other_store(path: Path) -> str:
    """A store with another hash, whose images must not be opened."""
    store = tiny.make_store(path, (11, 12, 12))
    (path / "images.npy").unlink()
    os.mkfifo(path / "images.npy")
    return str(store.root)


@pytest.mark.parametrize("what", [*PLACES, "another store"])
def test_a_run_needs_data_where_its_store_is_not(
    what: str, run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    set_path(run.spec, (PLACES | {"another store": other_store})[what](tmp_path / "place"))
    before = sorted(tmp_path.rglob("*"))
    for args in (("evaluate", run.root), ("train", "mnist5k-plain", "--out", run.root)):
        assert call(*args) == 2
        text = said(capsys)
        assert f"the store of {run.root} cannot be opened"[-30:] in text
        assert "give it: --data STORE" in text
        assert "Traceback" not in text
        assert "root:" not in text  # of /etc/passwd
    assert ("now holds other images (hash" in text) == (what == "another store")
    with pytest.raises(DataError, match="--data STORE"):
        store_of(run)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_store_with_the_recorded_hash_is_used_wherever_it_is(
    run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "store").rename(tmp_path / "moved")
    (tmp_path / "link").symlink_to("moved")
    for path in (tmp_path / "moved", "moved", "link", "run/../moved"):
        set_path(run.spec, str(path))
        assert store_of(run).meta.hash == run.info().store.hash


def test_a_report_shows_real_images_of_the_recorded_store_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    pictures, labels = tiny.images((4, 4, 4))
    run = make_run(tmp_path / "run", counts=(4, 4, 4), names=tiny.NAMES, images=(pictures, labels))
    store = tiny.make_store(tmp_path / "store", (4, 4, 4))
    values = json.loads(run.spec.read_text()) | {"store": {"path": str(store.root), "hash": store.meta.hash}}
    write_json(run.spec, add_checksum({name: value for name, value in values.items() if name != "sha256"}))

    def columns() -> tuple[str, ...]:
        sheet = sample_sheet(load([run]).runs)
        assert sheet
        return sheet.columns

    assert columns() == ("real, trained on", "run, guidance 2")
    for k, place in enumerate([*PLACES.values(), other_store]):
        set_path(run.spec, place(tmp_path / f"place{k}"))
        assert columns() == ("run, guidance 2",)


@pytest.fixture
def latents(tmp_path: Path) -> LatentStore:
    latent_sources.make_store(tmp_path / "pixels", np.arange(9) > 6)
    return latent_sources.run(tmp_path / "pixels", tmp_path / "latents")


@pytest.mark.parametrize("what", [*PLACES, "other data"])
def test_latents_are_found_by_their_hash_and_so_are_their_images(
    what: str, run: RunDir, latents: LatentStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    values = json.loads(run.spec.read_text()) | {"latents": {"path": str(latents.root), "hash": latents.info.hash}}
    write_json(run.spec, add_checksum({name: value for name, value in values.items() if name != "sha256"}))
    found = latents_of(run)
    assert found is not None
    assert pixels_of(found).meta.hash == latents.meta.hash

    def others(path: Path) -> str:
        latent_sources.make_store(tmp_path / "others", np.arange(9) > 6, seed=1)
        other = latent_sources.run(tmp_path / "others", path)
        (path / "moments.npy").unlink()  # not needed to see that they are others
        return str(other.root)

    path = (PLACES | {"other data": others})[what](tmp_path / "place")
    set_path(run.spec, path, "latents")
    with pytest.raises(DataError, match="give them: --data LATENTS"):
        latents_of(run)
    set_path(latents.root / "latents.json", path if what != "other data" else other_store(tmp_path / "x"), None)
    with pytest.raises(DataError, match="give its place: --data STORE"):
        pixels_of(LatentStore.open(latents.root))


@pytest.mark.parametrize("what", [*PLACES, "another VAE"])
def test_a_vae_is_found_by_its_hash(what: str, tiny_vae: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    store = Store.open(tiny.make_store(tmp_path / "store", (3, 3, 3), channels=3).root)
    known = load_vae(str(tiny_vae), (8, 8)).facts

    def another(path: Path) -> str:
        path.mkdir()
        for file in tiny_vae.iterdir():
            (path / file.name).write_bytes(file.read_bytes())
        config = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps(config | {"scaling_factor": 2 * config["scaling_factor"]}))
        return str(path)

    source = (PLACES | {"another VAE": another})[what](tmp_path / "place")
    facts = store.facts.model_copy(update={"codec": known.model_copy(update={"source": source})})
    with pytest.raises(InputError, match="--vae PATH"):
        codec(facts)
    assert codec(facts, str(tiny_vae))


OPENED: list[str] = []
"""Every path that this process opens while `_watching` is on."""
_watching = False


def _note(event: str, args: tuple[object, ...]) -> None:
    if _watching and event in ("open", "os.listdir", "os.scandir"):
        OPENED.append(str(args[0]))


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """The paths that are opened during a test."""
    global _watching
    if not OPENED:
        sys.addaudithook(_note)
    OPENED[:] = [""]
    _watching = True
    yield OPENED
    _watching = False


def test_other_recorded_names_are_only_shown(tmp_path: Path, opened: list[str], capsys: pytest.CaptureFixture[str]):
    """`--from`, the list of a tail, the command, the names of an evaluation, of its run and of its features."""
    (tmp_path / "canary").mkdir()
    place = _pipe(tmp_path / "canary" / "pipe")
    runs = [make_run(tmp_path / name, quality=k) for k, name in enumerate("ab")]
    for run in runs:
        values = json.loads(run.spec.read_text())
        values |= {"start_from": place, "command": ["taildiff", "train", place], "commit": place}
        values["spec"]["data"] |= {"tail": "list", "list": place}
        values["facts"]["name"] = place
        write_json(run.spec, add_checksum({name: value for name, value in values.items() if name != "sha256"}))
        (folder,) = run.evaluations()
        values = json.loads(folder.table_json.read_text())
        values["definition"] |= {"name": place, "run": f"../{place}"}
        values["definition"]["extractor"] |= {"name": f"torchscript:{place}"}
        values["definition"]["spec"] |= {"features": f"torchscript:{place}"}
        values["rows"] = [row | {"definition": place, "run": f"../{place}"} for row in values["rows"]]
        write_json(folder.table_json, with_checksum({k: value for k, value in values.items() if k != "sha256"}))
        assert Table.read(folder).definition.name == place
    assert call("report", *(run.root for run in runs), "--out", tmp_path / "page.html") == 0
    assert call("compare", *(run.root for run in runs), "--out", tmp_path / "table.md") == 0
    assert "Traceback" not in said(capsys)
    assert [path for path in opened if "table.json" in path]
    assert not [path for path in opened if "canary" in path]
