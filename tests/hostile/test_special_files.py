"""Pipes, devices and sockets in the place of files, and small files that announce endless work: refused at once."""

import gzip
import io
import os
import pickle
import shutil
import socket
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.calls import call, said
from evaluation import tiny
from hostile.time_limit import within

KINDS = {"pipe": "named pipe", "device": "device", "socket": "socket"}


@pytest.fixture(autouse=True)
def _in_time() -> Iterator[None]:
    with within(20):
        yield


def special(kind: str, path: Path) -> Path:
    """A file that is none."""
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "socket":
            here = Path.cwd()
            os.chdir(path.parent)  # the name of a socket is short
            try:
                with socket.socket(socket.AF_UNIX) as server:
                    server.bind(path.name)
            finally:
                os.chdir(here)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, images of it, and a run."""
    root = tmp_path_factory.mktemp("special")
    store = tiny.make_store(root / "store", (12, 12, 12))
    np.savez(root / "images.npz", images=store.images, labels=store.labels, class_names=store.meta.class_names)
    tiny.make_run(root / "run", store)
    for label, name in enumerate(tiny.NAMES):
        (root / "photos" / name).mkdir(parents=True)
        Image.fromarray(store.images[label, ..., 0]).save(root / "photos" / name / "1.png")
    assert call("data", "prepare", "folder", root / "photos", "--out", root / "named") == 0
    return root


COMMANDS = {
    "source of folder": "data prepare folder FILE --out OUT",
    "source of npz": "data prepare npz FILE --out OUT",
    "source of csv": "data prepare csv FILE --out OUT",
    "source of list": "data prepare list FILE --out OUT",
    "source of parquet": "data prepare parquet FILE --out OUT",
    "source of mnist": "data prepare mnist FILE --out OUT",
    "source of cifar10": "data prepare cifar10 FILE --out OUT",
    "names": "data prepare npz STORE/../images.npz --names FILE --out OUT",
    "spec": "train FILE.json --data STORE --out OUT",
    "data": "train mnist5k-plain --data FILE --out OUT",
    "list of a tail": "train mnist5k-plain --data STORE/../named --data.tail list --data.list FILE --out OUT",
    "from": "train mnist5k-plain --data STORE --data.tail natural --from FILE --out OUT",
    "from .safetensors": "train mnist5k-plain --data STORE --data.tail natural --from FILE.safetensors --out OUT",
    "VAE": "data encode STORE --vae FILE --out OUT",
    "run": "sample FILE --out OUT",
    "images": "evaluate FILE --data STORE --out OUT",
    "images.npz": "evaluate FILE.npz --data STORE --out OUT",
    "statistics": "evaluate STORE/../images.npz --data FILE.npz --out OUT",
    "features": "evaluate STORE/../images.npz --data STORE --features torchscript:FILE --out OUT",
    "report": "report FILE --out OUT",
    "compare": "compare FILE STORE/../run --out OUT.md",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", COMMANDS)
def test_what_is_no_file_is_refused(
    what: str, kind: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = COMMANDS[what].replace("STORE", str(place / "store")).replace("OUT", str(tmp_path / "out")).split()
    (name,) = (word.split(":")[-1] for word in words if "FILE" in word)
    special(kind, tmp_path / name)
    assert call(*(word.replace("FILE", str(tmp_path / "FILE")) for word in words)) == 2
    text = said(capsys)
    assert f"{tmp_path / name}"[-20:] in text
    assert "Traceback" not in text
    assert what == "features" or not (tmp_path / "out").exists()


INSIDE = {
    "run.json": ("run", "report PLACE"),
    "weights/ema-0000005.safetensors": ("run", "sample PLACE --per-class 1 --guidance 1 --out OUT"),
    "store.json": ("store", "data show PLACE"),
    "images.npy": ("store", "data show PLACE"),
    "labels.npy": ("store", "data show PLACE"),
}


@pytest.mark.parametrize("name", INSIDE)
def test_a_pipe_inside_a_run_or_store_is_named(
    name: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    kind, words = INSIDE[name]
    shutil.copytree(place / kind, tmp_path / kind)
    (tmp_path / kind / name).unlink()
    special("pipe", tmp_path / kind / name)
    command = words.replace("PLACE", str(tmp_path / kind)).replace("OUT", str(tmp_path / "out"))
    assert call(*command.split()) == 2
    assert "Traceback" not in (text := said(capsys))
    assert str(tmp_path / kind) in text


def test_an_image_that_is_a_pipe_is_counted_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    lines = ["path,label"]
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.new("L", (8, 8), 90).save(tmp_path / "photos" / name / "1.png")
        lines.append(f"{name}/1.png,{name}")
    special("pipe", tmp_path / "photos" / "a" / "2.png")
    assert call("data", "prepare", "folder", tmp_path / "photos", "--out", tmp_path / "out", "--dry-run") == 0
    assert "skipped 1 named pipe" in said(capsys)
    assert call("data", "prepare", "folder", tmp_path / "photos", "--out", tmp_path / "out", "--strict") == 2
    table = tmp_path / "photos" / "table.csv"
    table.write_text("\n".join([*lines, "a/2.png,a"]))
    assert call("data", "prepare", "csv", table, "--out", tmp_path / "out") == 2
    assert "line 4: 'a/2.png' is a named pipe, not a regular file" in said(capsys)


def nested_tuples(depth: int, use: bytes) -> bytes:
    """A pickle of a few hundred bytes whose tuple holds 2^depth items."""
    doubled = b"".join(b"h" + bytes([k]) + b"h" + bytes([k]) + b"\x86q" + bytes([k + 1]) for k in range(depth))
    return b"\x80\x02K\x01q\x00" + doubled + use


USES = {
    "key of a dict": b"q\x60}h\x60K\x01s.",
    "type of an array": b"q\x60cnumpy\ndtype\nh\x60\x85R.",
    "text of a class": b"q\x60}X\x0b\x00\x00\x00label_names]h\x60as.",
    "the whole": b".",
}


@pytest.mark.parametrize("use", USES)
def test_a_small_pickle_cannot_cost_2_to_the_40_steps(use: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    data = nested_tuples(40, USES[use])
    assert len(data) < 320
    for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch", "batches.meta"):
        (folder / name).write_bytes(data)
    assert call("data", "prepare", "cifar10", tmp_path, "--out", tmp_path / "out") == 2
    assert "data_batch_1" in said(capsys)


def test_an_archive_that_unpacks_without_end_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    head = tarfile.TarInfo("cifar-10-batches-py/other")
    for kind, size, message in ((tarfile.REGTYPE, 2**40, "unpacks to more"), (tarfile.XHDTYPE, 2**33, "announces an")):
        head.type, head.size = kind, size
        file = tmp_path / f"{message[:3]}.tar.gz"
        file.write_bytes(gzip.compress(head.tobuf(tarfile.GNU_FORMAT) + bytes(2**20)))
        assert call("data", "prepare", "cifar10", file, "--out", tmp_path / "out") == 2
        assert message in said(capsys)


def test_arrays_beside_the_images_are_bounded_before_they_are_read(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """A million zeros of 8 bytes in some kilobytes, and labels that would make as many classes as their values."""
    file, store = tmp_path / "x.npz", place / "store"
    images = np.zeros((4, 8, 8, 1), np.uint8)
    for name in ("labels", "class_names"):
        arrays = {"images": images, "labels": np.arange(4) % 2, "class_names": np.array(["left", "right"])}
        arrays[name] = np.zeros(2**24, np.int64) if name == "labels" else np.zeros(2**22, "U16")
        np.savez_compressed(file, **arrays)
        assert call("evaluate", file, "--data", store, "--out", tmp_path / "out") == 2
        assert f"{name}" in said(capsys)
    np.savez(file, images=images, labels=np.array([0, 1, 2, 10**15]))
    assert call("evaluate", file, "--data", file, "--out", tmp_path / "out") == 2
    assert "labels 0..1000000000000000" in said(capsys)


def test_an_idx_file_is_read_in_small_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for part, n in (("train", 2), ("t10k", 2)):
        for what, dims in (("images-idx3", (n, 30_000, 30_000)), ("labels-idx1", (n,))):
            head = bytes([0, 0, 8, len(dims)]) + b"".join(d.to_bytes(4, "big") for d in dims)
            (tmp_path / f"{part}-{what}-ubyte").write_bytes(head + bytes(n))
    assert call("data", "prepare", "mnist", tmp_path, "--out", tmp_path / "out") == 2
    assert "claims the shape (2, 30000, 30000); it is damaged" in said(capsys)


def test_text_files_are_bounded(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for command in ("data prepare list FILE --out OUT", "train FILE.json --out OUT"):
        words = command.replace("FILE", str(tmp_path / "FILE")).replace("OUT", str(tmp_path / "out")).split()
        name = next(word for word in words if "FILE" in word)
        with Path(name).open("wb") as file:
            file.truncate(2**40)  # takes no space
        assert call(*words) == 2
        assert "larger than 1,073,741,824 bytes" in said(capsys)


def test_a_zip_member_that_is_nested_or_deep_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        header = b"\x93NUMPY\x01\x00" + (9000).to_bytes(2, "little") + b"(" * 8999 + b"\n"
        archive.writestr("images.npy", header)
        archive.writestr("labels.npy", header)
    assert call("data", "prepare", "npz", tmp_path / "x.npz", "--out", tmp_path / "out") == 2
    assert "x.npz" in said(capsys)
    buffer = io.BytesIO()
    pickle.dump([], buffer)
    (tmp_path / "y.npz").write_bytes(buffer.getvalue())
    assert call("data", "prepare", "npz", tmp_path / "y.npz", "--out", tmp_path / "out") == 2
    assert "y.npz is damaged or not an npz file" in said(capsys)
