"""`taildiff data show --verify` reads the whole store."""

from cli.calls import call, said
from taildiff.cli.main import main


def test_a_changed_pixel_is_found(tiny_store, capsys):
    assert main(["data", "show", str(tiny_store.root), "--verify"]) == 0
    assert "verified" in capsys.readouterr().out
    path = tiny_store.root / "images.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    assert main(["data", "show", str(tiny_store.root)]) == 0
    capsys.readouterr()
    assert main(["data", "show", str(tiny_store.root), "--verify"]) == 2
    assert "was changed after it was prepared" in capsys.readouterr().err


def test_folders_cannot_be_verified(tmp_path, capsys):
    assert main(["data", "show", str(tmp_path), "--verify"]) == 2
    assert "is not a store; --verify works on" in capsys.readouterr().err


def test_a_negative_minimum_is_an_error_with_a_list(tiny_store, tmp_path, capsys):
    (tmp_path / "list.txt").write_text("a.png 0\n")
    cut = ["--tail", "list", "--list", tmp_path / "list.txt", "--min-per-class", "-1"]
    assert call("data", "show", tiny_store.root, *cut) == 2
    assert "min_per_class: Input should be greater than or equal to 0" in said(capsys)
