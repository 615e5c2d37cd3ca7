"""Model cards as huggingface_hub reads them, and pushing to a fake of the Hub's API."""

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from huggingface_hub import ModelCard

import taildiff
from cli.calls import call, said
from evaluation import tiny
from exporting import made
from taildiff.data.store import Store
from taildiff.errors import InputError
from taildiff.evaluation import classifier_network
from taildiff.exporting.push import push
from taildiff.run.exported import ExportDir
from taildiff.run.layout import RunDir


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of a run that was evaluated at guidance 1 and 2."""
    place = tmp_path_factory.mktemp("card")
    store = tiny.make_store(place / "store", (30, 24, 21), (6, 6, 6))
    run = made.make_run(place / "run", store, made.SPECS["unet"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifier_network, "_STEPS", (6, 6))
        taildiff.evaluate(run.root, guidance=(1, 2), per_class=20, steps=1, metrics=["accuracy"])
    return taildiff.export(
        run.root, place / "out", guidance=2, grid=0, name="Odd | <names>", license="mit", data_license="CC0"
    )


def test_the_card_parses_and_has_the_metrics_by_group(exported: Path):
    card = ModelCard.load(exported / "README.md")
    data: Any = card.data
    assert (data.library_name, data.license) == ("taildiff", "mit")
    table = taildiff.Evaluation.read(next((exported.parent / "run" / "evals").glob("*/table.json")).parent).table
    found = {(each.metric_type, each.dataset_split): each for each in data.eval_results}
    for group in ("all", "head", "body", "tail"):
        row = table.select("accuracy", group, 2.0)[0]
        each = found["accuracy", group]
        assert each.metric_value == row.value
        assert (each.metric_args["low"], each.metric_args["high"]) == (row.low, row.high)
        assert each.metric_args["guidance"] == 2
        assert f"{row.value:.0%} [{row.low:.0%}, {row.high:.0%}]" in card.text
    assert r"# Odd \| \<names\>" in card.text
    for part in ("U-Net on pixels", "denoising", "| head | 1 | 30 to 30 |", "Licence of the images: CC0", "## Limits"):
        assert part in card.text
    assert "grid.png" not in card.text


class FakeHub(ThreadingHTTPServer):
    """What creating a model and uploading a folder to it need of the Hub's API."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.created: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.refuses = False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        hub, repo = self.server, "/api/models/owner/model"
        if hub.refuses or self.headers.get("Authorization") != "Bearer hf_secret":
            self._answer(401, {"error": "Invalid username or password."})
        elif self.path == "/api/repos/create":
            hub.created.append(json.loads(body))
            self._answer(200, {"url": f"{hub.address}/owner/model"})
        elif self.path.startswith("/api/validate-yaml"):
            self._answer(200, {"warnings": [], "errors": []})
        elif self.path.startswith(f"{repo}/preupload/"):
            files = [each["path"] for each in json.loads(body)["files"]]
            modes = [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in files]
            self._answer(200, {"files": modes})
        elif self.path.startswith(f"{repo}/commit/"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    hub.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self._answer(200, {"commitUrl": f"{hub.address}/owner/model/commit/{'0' * 40}", "commitOid": "0" * 40})
        else:
            self._answer(404, {"error": "not found"})

    def do_GET(self) -> None:
        self._answer(404, {"error": "not found"})

    def _answer(self, code: int, values: dict[str, Any]) -> None:
        body = json.dumps(values).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    server = FakeHub()
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.address)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    yield server
    server.shutdown()
    server.server_close()


def test_an_export_is_pushed_file_by_file(exported: Path, hub: FakeHub, capsys: pytest.CaptureFixture[str]):
    run = exported.parent / "run"
    assert call("export", run, exported, "--push", "owner/model", "--private") == 0
    text = said(capsys)
    assert "pushing the export that is in" in text
    assert f"pushed to {hub.address}/owner/model" in text
    (created,) = hub.created
    assert (created["name"], created["organization"]) == ("model", "owner")
    assert created.get("private") or created.get("visibility") == "private"
    local = {str(path.relative_to(exported)): path.read_bytes() for path in exported.rglob("*") if path.is_file()}
    assert {name: content for name, content in hub.files.items() if name != ".gitattributes"} == local


def test_what_names_local_paths_is_not_pushed(
    exported: Path, tiny_vae: Path, make_store: Callable[..., Store], hub: FakeHub, tmp_path: Path
):
    store = make_store(tmp_path / "store", size=16)
    run = made.make_run(tmp_path / "run", store, made.SPECS["dit"], tiny_vae)
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"named by the local path .*, which nobody else has: .*--vae-as copy"):
        taildiff.export(run.root, out, vae_as="name", grid=0, push="owner/model")
    assert not out.exists()
    taildiff.export(run.root, out, vae_as="name", grid=0, guidance=1)
    with pytest.raises(InputError, match="named by the local path"):
        push(out, "owner/model")
    with pytest.raises(InputError, match="named by the local path"):
        taildiff.export(run.root, out, guidance=1, push="owner/model", dry_run=True)
    old = shutil.copytree(exported, tmp_path / "old")
    record = ExportDir(old).meta()
    named = record.model_copy(update={"store": record.store.model_copy(update={"path": "/home/me/store"})})
    ExportDir(old).record.write_text(json.dumps(named.values()))
    with pytest.raises(InputError, match="by an older version, which recorded the path of the store"):
        push(old, "owner/model")
    assert not hub.created


def test_an_export_is_pushed_as_that_of_its_run_alone(
    exported: Path, hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    place = exported.parent
    run, other = place / "run", made.make_run(tmp_path / "other", Store.open(place / "store"), made.SPECS["sit"])
    for words, message in (
        ((other.root,), f"is an export of run, another run than {other.root}"),
        ((run, "--step", 7), f"{exported} has the weights of step 5; export step 7 to a new folder"),
    ):
        for more in (("--dry-run",), ()):
            assert call("export", words[0], exported, *words[1:], "--push", "owner/model", *more) == 2
            assert message in said(capsys)
    shutil.copytree(run, tmp_path / "run")
    shutil.copyfile(RunDir(run).weights(5), RunDir(tmp_path / "run").weights(9))
    assert call("export", tmp_path / "run", exported, "--push", "owner/model", "--dry-run") == 0
    assert "is at step 9; to push those, export to a new folder" in said(capsys)
    assert not hub.created


def test_a_push_that_fails_keeps_the_folder(exported: Path, hub: FakeHub, capsys: pytest.CaptureFixture[str]):
    hub.refuses = True
    assert call("export", exported.parent / "run", exported, "--push", "owner/model") == 2
    text = said(capsys)
    assert "is complete, but could not be pushed to owner/model" in text
    assert "hf auth login" in text
    assert (exported / "model_index.json").is_file()
    with pytest.raises(InputError, match="is not OWNER/NAME"):
        push(exported, "not a name/of/a/model")
