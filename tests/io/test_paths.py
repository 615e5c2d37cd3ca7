"""Outputs follow links, and inputs are regular files."""

import os
import socket
from pathlib import Path

import pytest

from taildiff.errors import InputError
from taildiff.io.paths import output_path, regular


def test_an_output_that_is_a_link_is_followed_wherever_it_leads(tmp_path: Path):
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    file.touch()
    for name, target in (("a", folder), ("b", file), ("c", tmp_path / "not yet" / "there")):
        link = tmp_path / name
        link.symlink_to(target)
        assert output_path(link) == target
        assert link.is_symlink()
    (tmp_path / "d").symlink_to("folder")
    assert output_path(tmp_path / "d" / "inside") == tmp_path / "d" / "inside"
    assert output_path(tmp_path / "plain") == tmp_path / "plain"


def test_links_in_a_circle_and_bytes_that_are_no_text_are_refused(tmp_path: Path):
    (tmp_path / "one").symlink_to(tmp_path / "two")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    with pytest.raises(InputError, match=r"--out .*one is a link that leads back to itself; remove it"):
        output_path(tmp_path / "one")
    with pytest.raises(InputError, match=r"--out .*r\\xff is not UTF-8.*rename it"):
        output_path(Path(os.fsdecode(os.fsencode(tmp_path / "r") + b"\xff")))


def test_only_regular_files_are_read(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for path, kind in ((tmp_path / "pipe", "named pipe"), (tmp_path / "link", "named pipe")):
        with pytest.raises(OSError, match=f"it is a {kind}, not a regular file"):
            regular(path)
    with pytest.raises(OSError, match="it is a device, not a regular file"):
        regular(Path("/dev/zero"))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        with pytest.raises(OSError, match="it is a socket, not a regular file"):
            regular(tmp_path / "s")
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path, tmp_path / "missing"):
        assert regular(path) == path
    assert regular(Path("\0")) == Path("\0")
