import subprocess
import sys
from pathlib import Path

import pytest
from fake_runs import make_run

from taildiff.cli import main as command
from taildiff.cli.report import main


def test_one_run_gets_its_report_inside(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = make_run(tmp_path / "a")
    assert main([str(run.root)]) == 0
    output = capsys.readouterr().out
    assert run.report.is_file()
    assert str(run.report) in output.replace("\n", "")
    assert "taildiff sample" in output
    assert "9.00" in output


def test_several_runs_get_theirs_in_the_common_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    a, b = make_run(tmp_path / "x" / "a"), make_run(tmp_path / "x" / "[b]", quality=1.0, evaluated=False)
    assert main([str(a.root), str(b.root)]) == 0
    assert (tmp_path / "x" / "report.html").is_file()
    output = capsys.readouterr().out
    assert "[b]" in output  # not taken for markup
    assert "taildiff evaluate" in output

    out = tmp_path / "other.html"
    assert main([str(a.root), str(b.root), "--out", str(out), "--title", "Mine"]) == 0
    assert "<h1>Mine</h1>" in out.read_text(encoding="utf-8")


def test_mistakes_exit_with_2_and_name_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert command.main(["report", str(tmp_path)]) == 2
    assert "is not a run" in capsys.readouterr().err.replace("\n", " ")
    assert command.main(["report"]) == 2
    assert "taildiff report RUN" in capsys.readouterr().err.replace("\n", " ")
    assert command.main(["report", str(tmp_path), "--otu", "x"]) == 2
    assert "did you mean --out?" in capsys.readouterr().err


def test_the_verb_imports_no_torch():
    code = "import sys, taildiff.cli.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
