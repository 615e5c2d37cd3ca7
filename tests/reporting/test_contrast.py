"""Colours of pages: text and marks on every background reach WCAG 2.1 AA, 4.5 : 1, in light, dark and print."""

import re
from itertools import combinations

import pytest

from taildiff.reporting.page import environment

SCHEMES = ("light", "dark", "print")
TEXTS = ("ink", "quiet", "good", "bad", *(f"c{k}" for k in range(7)))
BACKGROUNDS = ("paper", "card", "warm")


def palettes() -> dict[str, dict[str, str]]:
    css = environment().get_template("palette.css").render()
    blocks = re.findall(r":root \{(.*?)\}", css, re.S)
    assert len(blocks) == len(SCHEMES)
    return {
        name: dict(re.findall(r"--([\w-]+): (#[0-9a-f]+)", block)) for name, block in zip(SCHEMES, blocks, strict=True)
    }


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = (int(digits[k : k + 2], 16) / 255 for k in (0, 2, 4))
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_the_standard():
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#fff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_text_colour_reaches_aa_on_every_background(scheme: str):
    palette = palettes()[scheme]
    poor = {
        (text, back): round(contrast(palette[text], palette[back]), 2)
        for text in TEXTS
        for back in BACKGROUNDS
        if contrast(palette[text], palette[back]) < 4.5
    }
    assert not poor
    assert contrast(palette["ink"], palette["best"]) >= 4.5


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_colours_of_runs_differ(scheme: str):
    palette = palettes()[scheme]
    assert len({palette[f"c{k}"] for k in range(7)}) == 7
    rgb = [[int(palette[f"c{k}"][i : i + 2], 16) for i in (1, 3, 5)] for k in range(6)]
    assert min(sum(abs(a - b) for a, b in zip(one, other, strict=True)) for one, other in combinations(rgb, 2)) > 60
