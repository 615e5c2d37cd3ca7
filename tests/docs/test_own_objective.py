"""docs/own-objective.md is followed literally: its Python blocks are run, and the term is what the page says."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from taildiff.diffusion.process import noise
from taildiff.objectives.objective import Streams

PAGE = Path(__file__).parents[2] / "docs" / "own-objective.md"


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """What the names of the page stand for after its blocks were run, one after the other."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    assert len(blocks[0].splitlines()) <= 30  # as the title promises
    names: dict[str, Any] = {"__name__": "own_objective"}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    return names


@pytest.mark.parametrize("history", ["history", "history_both"])
def test_denoising_falls_in_both_loops(page, history):
    first, last = (sum(row["denoising"] for row in part) / 8 for part in (page[history][:8], page[history][-8:]))
    assert last < 0.7 * first


def test_the_term_falls_against_a_run_without_it(page):
    """Both runs watch the term; in one its weight is 0, which an `Objective` made by hand keeps."""
    torch.manual_seed(0)
    network = page["build"].denoiser(page["UNetSpec"](channels=(8, 16)), page["facts"])
    terms = [(1.0, page["Denoising"]()), (0.0, page["SharedFeatures"]())]
    watched = page["train"](page["Objective"](page["process"], terms, page["LabelDrop"](0.1)), network)
    with_it, without = (sum(row["shared"] for row in run[-8:]) / 8 for run in (page["history"], watched))
    assert watched[0]["shared"] == page["history"][0]["shared"] > 0
    assert with_it < 0.7 * without


@pytest.mark.parametrize("name", ["objective", "both"])
def test_the_value_is_that_of_separate_passes(page, name):
    objective, network = page[name], page["network"]
    batch = page["Batch"](page["images"][:300:30], page["labels"][:300:30])
    draws = objective.draw(10, (1, 28, 28), Streams(3, 1))
    draws = draws._replace(dropped=torch.arange(10) % 3 == 0)
    with torch.no_grad():
        values = objective(network, batch, draws).per_sample[objective.names.index("shared")]
        x_s = noise(page["process"], batch.x, draws.s, draws.eps).x_s
        given, null = (
            network(x_s, draws.s, y, ["middle"]).features[0].mean((2, 3))
            for y in (batch.y, torch.full_like(batch.y, 10))
        )
    expected = draws.s * (given - null).square().mean(1) * ~draws.dropped
    torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-7)
    assert (values > 0).tolist() == (~draws.dropped).tolist()


def test_rows_are_what_the_page_says(page):
    """Alone, the null rows stop at the tap; beside CCUA the term adds no view."""
    assert (page["objective"].predicted, len(page["objective"].views)) == (1, 2)
    assert page["both"].views == page["ccua"].views
    assert page["both"].names == ("denoising", "ucl", "al", "shared")
