"""Progress on a terminal: what stands on the screen at the end, and how much of it moves."""

import re

import pytest

from cli.screen import terminal_for
from taildiff.api.progress import progress_bar
from taildiff.cli.common import start_output
from taildiff.log import Stage, log, prefixed


def test_stages_stand_below_each_other_with_the_lines_of_the_log_between(monkeypatch: pytest.MonkeyPatch):
    terminal = terminal_for(monkeypatch)
    start_output(["fill"])
    with progress_bar() as report:
        log.info("1. prepare")
        for k in range(12):
            inner = prefixed(report, f"{k}/12")
            for done in range(4):
                inner(Stage("stage", f"loss {done}"), done, 3)
                if k == 5 and done == 2:
                    log.warning("skipped broken.png")
            report(Stage("0/12: stage", "loss 3"), 3, 3)  # reported again
    shown = [row for row in terminal.rows if row.strip()]
    assert [re.match(r"(\d+/12: stage|1\. prepare|skipped broken\.png)", row)[0] for row in shown] == [  # pyright: ignore[reportOptionalSubscript]
        "1. prepare",
        *(f"{k}/12: stage" for k in range(5)),
        "skipped broken.png",
        *(f"{k}/12: stage" for k in range(5, 12)),
    ]
    assert all(re.search(r"━ 3/3 .*loss 3", row) for row in shown if "stage" in row)


def test_stages_that_never_finish_do_not_fill_the_screen(monkeypatch: pytest.MonkeyPatch):
    terminal = terminal_for(monkeypatch)
    with progress_bar() as report:
        for k in range(40):
            report(f"filling class{k}", 1, 2)
    rows_above = [run.count("A") for run in re.findall(r"(?:\x1b\[1A\x1b\[2K)+", terminal.getvalue())]
    assert 3 <= max(rows_above) < 6
    assert [f"filling class{k}" in "\n".join(terminal.rows) for k in range(40)] == [True] * 40
