"""Experiment trackers: what they are sent live, after an interruption and by `taildiff log`; and how they fail."""

import json
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import taildiff
from cli.calls import call, said
from taildiff.data.store import Store
from taildiff.errors import InputError, RunError
from taildiff.io.lock import locked
from taildiff.run.layout import RunDir
from taildiff.run.metrics import logged_lines
from taildiff.spec import RunSpec
from taildiff.trackers import base
from taildiff.trackers.feed import Feed, line_entry, replay
from taildiff.trackers.wandb import WandB


class Notes:
    """A tracker that keeps what it is sent, and raises `error` when it is sent step `fails_at`."""

    def __init__(self, name: str = "notes", fails_at: object = None, error: BaseException | None = None):
        self.name, self.fails_at, self.error = name, fails_at, error or OSError(28, "No space left on device")
        self.calls: list[Any] = []

    def _called(self, what: object, *more: object) -> None:
        if what == self.fails_at:
            raise self.error
        self.calls.append((what, *more) if more else what)

    def init(self, run: RunDir) -> None:
        self._called("init")
        self.calls = ["init"]

    def log(self, step: int, time: float, values: Mapping[str, float], images: Mapping[str, Path]) -> None:
        self._called(step, sorted(values), sorted(images))

    def finish(self) -> None:
        self._called("finish")

    @property
    def steps(self) -> list[int]:
        """Of the lines it was sent."""
        return [entry[0] for entry in self.calls if isinstance(entry, tuple) and entry[1]]


class TwiceError(BaseException):
    """As a second Ctrl-C, which nothing catches."""


@pytest.fixture
def train(tiny_store: Store, tiny_spec: RunSpec, tmp_path: Path) -> Callable[..., taildiff.Run]:
    """Train tmp_path/run to step 12, or as the options say; `grids`: draw one every 6 steps."""

    def call(grids: bool = False, **options: Any) -> taildiff.Run:
        every = tiny_spec.every.model_copy(update={"samples": 6 if grids else 0})
        spec = tiny_spec.model_copy(update={"every": every})
        return taildiff.train(spec, out=tmp_path / "run", data=tiny_store, **options)

    return call


def events(folder: Path) -> EventAccumulator:
    read = EventAccumulator(str(folder), {"scalars": 0, "images": 0, "tensors": 0})
    return read.Reload()


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    read = events(folder)
    return {tag: [(each.step, each.value) for each in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def expected(run: RunDir) -> dict[str, list[Any]]:
    """The same from metrics.jsonl, without our own code."""
    curves = dict[str, list[Any]]()
    for line in logged_lines(run.metrics):
        for name, value in line.items():
            nested = value.items() if isinstance(value, dict) else [("", value)]
            for inner, part in nested:
                parts = part.items() if isinstance(part, dict) else enumerate(part, 1) if isinstance(part, list) else ()
                for tag, number in [(f"{name}/{inner}/{last}", n) for last, n in parts] or [(f"{name}/{inner}", part)]:
                    if number is not None and name != "step":
                        curves.setdefault(tag.rstrip("/"), []).append((line["step"], pytest.approx(number, rel=1e-6)))
    return curves


def test_a_run_that_was_killed_and_resumed_has_one_clean_curve(train: Callable[..., taildiff.Run], tmp_path: Path):
    run = RunDir(tmp_path / "run")
    with pytest.raises(TwiceError):
        train(True, log=["tensorboard", Notes(fails_at=9, error=TwiceError())])
    assert run.checkpoint_steps()[-1] == 8
    assert max(step for step, _ in scalars(run.tensorboard)["loss"]) == 9  # beyond the checkpoint
    train(True, log="tensorboard", stop_at=10)
    train(True, log="tensorboard")
    live = scalars(run.tensorboard)
    assert [step for step, _ in live["loss"]] == [3, 4, 6, 8, 9, 10, 12]
    assert live == expected(run)
    assert {"terms/ucl", "weighted/al", "by_noise/ucl/4", "by_group/denoising/tail", "skipped/spikes"} <= set(live)

    read = events(run.tensorboard)
    images = read.Images("samples")
    assert [(each.step, each.encoded_image_string) for each in images] == [
        (step, run.sample_grid(step).read_bytes()) for step in (6, 12)
    ]
    assert (images[0].width, images[0].height) == (8 * 10 - 2, 3 * 10 - 2)
    first, *_, last = read.Scalars("seconds")
    assert last.wall_time - first.wall_time == pytest.approx(last.value - first.value, abs=1e-3)
    settings = read.Tensors("settings")[0].tensor_proto.string_val[0]
    assert b'"recipe": "tiny"' in settings

    (file,) = run.tensorboard.glob("events*")
    assert call("log", run.root, "--to", "tensorboard") == 0
    assert not file.exists()
    assert scalars(run.tensorboard) == live
    assert len(events(run.tensorboard).Images("samples")) == 2


def test_a_tracker_of_ones_own_begins_with_what_was_logged_before(
    train: Callable[..., taildiff.Run], caplog: pytest.LogCaptureFixture
):
    train(stop_at=5)
    notes = Notes()
    run = train(True, log=notes)
    assert notes.calls[0] == "init"
    assert notes.calls[-1] == "finish"
    assert notes.steps == [line["step"] for line in run.metrics] == [3, 4, 5, 6, 8, 9, 12]
    drawn = [entry[0] for entry in notes.calls if isinstance(entry, tuple) and entry[2] == ["samples"]]
    assert drawn == [6, 12]
    assert "tracking" not in " ".join(caplog.messages)
    again = Notes()
    assert run.log(to=again) == 7
    assert again.calls == notes.calls


def test_a_tracker_that_fails_warns_once_and_training_goes_on(
    train: Callable[..., taildiff.Run], caplog: pytest.LogCaptureFixture
):
    trackers = [Notes(f"n{where}", where) for where in ("init", 3, 6, "finish")]
    odd = Notes("exits", 6, SystemExit(3))
    whole = Notes("whole")
    run = train(log=[*trackers, odd, whole])
    assert (run.outcome and run.outcome.reason) == "finished"
    assert whole.steps == [3, 4, 6, 8, 9, 12]
    warned = [text for text in caplog.messages if "tracking by" in text]
    assert len(warned) == 5
    assert "tracking by n3 stopped (OSError: [Errno 28] No space left on device); training goes on, and " in warned[1]
    assert trackers[2].calls[-1] == "finish"  # what it holds is let go


def test_damaged_lines_stop_tracking_alone(train: Callable[..., taildiff.Run], caplog: pytest.LogCaptureFixture):
    run = RunDir(train(stop_at=4).path)
    run.metrics.write_bytes(b"x" + run.metrics.read_bytes()[1:])
    notes = Notes()
    train(log=[notes], stop_at=8)
    assert [text for text in caplog.messages if "tracking by" in text] == [
        f"tracking by notes stopped (RunError: {run.metrics}, line 1 is damaged); training goes on, and {run.metrics} "
        "has everything"
    ]
    assert notes.calls == ["init", "finish"]
    with pytest.raises(RunError, match="line 1 is damaged"):
        replay(run, Notes())


def test_while_one_process_writes_event_files_another_does_not(train: Callable[..., taildiff.Run]):
    run = train(stop_at=1)
    with locked(RunDir(run.path).tensorboard / ".lock", RunError), pytest.raises(RunError, match="is being written by"):
        run.log()
    assert run.log() == 1


@pytest.mark.parametrize("name", base.NAMES)
def test_without_its_extra_nothing_begins(
    name: str, tiny_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, name, None)
    for loaded in [module for module in sys.modules if module.startswith(f"{name}.")]:
        monkeypatch.delitem(sys.modules, loaded)
    command = ["train", "auto-ccua", "--data", tiny_store.root, "--out", tmp_path / "run", "--log", name]
    for more in ((), ("--dry-run",)):
        assert call(*command, *more) == 2
        assert f"error: {name} is not installed: pip install 'taildiff[{name}]'" in said(capsys)
    assert not (tmp_path / "run").exists()


def test_a_library_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch):
    def broken(name: str) -> None:
        raise TypeError("Descriptors cannot be made.\nsecond line")

    monkeypatch.setattr(base, "import_module", broken)
    with pytest.raises(InputError, match=r"tensorboard cannot be imported \(Descriptors cannot be made\.\)"):
        base.tracker("tensorboard")
    monkeypatch.undo()
    with pytest.raises(InputError, match="unknown tracker 'tensorbord': did you mean 'tensorboard'"):
        base.tracker("tensorbord")
    with pytest.raises(InputError, match="is no experiment tracker: it needs name, init, log and finish"):
        base.trackers(object())  # pyright: ignore[reportArgumentType]


def test_several_runs_by_one_command(
    train: Callable[..., taildiff.Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = train(stop_at=4).path
    run.rename(tmp_path / "a")
    train(stop_at=1)
    assert call("log", tmp_path / "a", tmp_path / "none") == 2
    assert "none is not a run" in said(capsys)
    assert not (tmp_path / "a" / "tensorboard").exists()
    assert call("log", tmp_path / "a", run) == 0
    text = said(capsys)
    assert f"Sent 2 lines of {tmp_path / 'a'} to tensorboard" in text
    assert f"tensorboard --logdir {tmp_path}" in text
    assert call("log") == 2
    (run / "metrics.jsonl").write_bytes(b"")
    assert call("log", run) == 2
    assert "has logged nothing yet; continue it with the same taildiff train command" in said(capsys)


def test_the_command_line_shows_where_to_look(tiny_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    few = ("--steps", 2, "--batch-size", 4, "--every.samples", 0, "--model.channels", 8)
    command = ["train", "auto-ccua", "--data", tiny_store.root, "--out", tmp_path / "run", *few]
    assert call(*command, "--log", "tensorboard") == 0
    assert f"tensorboard --logdir {tmp_path / 'run'}" in said(capsys)
    assert scalars(tmp_path / "run" / "tensorboard")["loss"]


def test_values_have_the_names_of_the_file():
    line = {"step": 3, "loss": 0.5, "terms": {"ucl": None}, "by_noise": {"ucl": [1, None]}, "note": "text"}
    assert line_entry(line) == (3, {"loss": 0.5, "by_noise/ucl/1": 1.0}, {})


def test_feeding_nobody_reads_nothing(tmp_path: Path):
    feed = Feed(RunDir(tmp_path / "none"))
    feed.start(3)
    feed.line({"damaged": True})
    feed.grid(3)
    feed.finish()


class FakeWandB(ModuleType):
    """What `WandB` needs of the library; `known`: the steps before this one are on the server."""

    def __init__(self, known: int):
        super().__init__("wandb")
        self.known, self.started, self.sent = known, list[dict[str, Any]](), list[tuple[int, list[str]]]()

    def init(self, **options: Any) -> SimpleNamespace:
        self.started.append(options)
        return SimpleNamespace(
            step=self.known,
            log=lambda values, step: self.sent.append((step, sorted(values))),
            finish=lambda: self.sent.append((0, [])),
        )

    Settings = SimpleNamespace
    Image = staticmethod(str)


def test_wandb_gets_a_resumed_run_under_its_name_and_no_step_twice(
    train: Callable[..., taildiff.Run], monkeypatch: pytest.MonkeyPatch
):
    for name in ("WANDB_PROJECT", "WANDB_NAME", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    fakes = [FakeWandB(0), FakeWandB(5)]
    monkeypatch.setitem(sys.modules, "wandb", fakes[0])
    run = train(log="wandb", stop_at=5)
    monkeypatch.setitem(sys.modules, "wandb", fakes[1])
    train(True, log="wandb")
    (first,), (second,) = (fake.started for fake in fakes)
    assert first == {**second, "config": first["config"]}  # --every may change
    assert (first["project"], first["name"], first["dir"]) == ("taildiff", "run", str(run.path))
    assert first["config"]["objective"]["ucl"]["weight"] == 0.2
    assert [step for step, values in fakes[0].sent if "loss" in values] == [3, 4, 5]
    assert [step for step, values in fakes[1].sent if "loss" in values] == [5, 6, 8, 9, 12]
    assert [step for step, values in fakes[1].sent if values == ["samples"]] == [6, 12]
    assert fakes[1].sent[-1] == (0, [])
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    run.log(to="wandb")
    assert fakes[1].started[-1] == {**second, "project": "mine"}


@pytest.mark.slow
def test_wandb_offline(train: Callable[..., taildiff.Run], monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = train(log=WandB(), stop_at=5)
    train(True, log=WandB())
    newest = sorted((run.path / "wandb").glob("offline-run-*/*.wandb"))[-1]
    history = offline_history(newest)
    assert [(each["_step"], each["loss"]) for each in history if "loss" in each] == [
        (line["step"], pytest.approx(line["loss"])) for line in run.metrics
    ]
    assert [each["_step"] for each in history if any(key.startswith("samples") for key in each)] == [6, 12]
    assert len(list(newest.parent.glob("files/media/images/*.png"))) == 2


def offline_history(path: Path) -> list[dict[str, Any]]:
    """The lines of history in a file of W&B's own format."""
    from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore[reportMissingImports]

    found = []
    for data in leveldb_records(path.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            found.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    return found


def leveldb_records(data: bytes, block: int = 32768, header: int = 7) -> Iterator[bytes]:
    """The records of a log in LevelDB's format, after W&B's own 7 bytes at its start."""
    place, record = 7, b""
    while place + header <= len(data):
        if block - place % block < header:
            place += block - place % block  # the rest of a block is padding
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        record += data[place + header : place + header + length]
        place += header + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""
