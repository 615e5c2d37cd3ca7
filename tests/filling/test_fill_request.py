"""How many images each class gets, and how files are named."""

import pytest

from taildiff.errors import InputError
from taildiff.filling.names import Names, generated_name
from taildiff.filling.request import Amounts

HAVE, NAMES = (600, 100, 19, 8), ("cat", "dog", "owl", "emu")


@pytest.mark.parametrize(
    ("amounts", "asked"),
    [
        (Amounts(to=200), (0, 100, 181, 192)),
        (Amounts(to=200, rare=True), (0, 0, 181, 192)),
        (Amounts(to=200, classes=("emu", "cat")), (0, 0, 0, 192)),
        (Amounts(add=5), (5, 5, 5, 5)),
        (Amounts(add=5, classes=("owl",)), (0, 0, 5, 0)),
        (Amounts(counts={"dog": 150, "emu": 20}), (0, 50, 0, 12)),
        (Amounts(balance=0.5), (0, 200, 281, 292)),
        (Amounts(balance=1, rare=True), (0, 0, 581, 592)),
    ],
)
def test_amounts(amounts: Amounts, asked: tuple[int, ...]):
    assert amounts.asked(HAVE, NAMES) == asked


@pytest.mark.parametrize(
    ("amounts", "what"),
    [
        (Amounts(), "in one way: --to"),
        (Amounts(to=5, add=5), "in one way"),
        (Amounts(to=5), "nothing to fill"),
        (Amounts(to=0), "--to must be at least 1"),
        (Amounts(balance=1.5), "at most 1"),
        (Amounts(to=200, classes=("owi",)), "did you mean 'owl'"),
        (Amounts(counts={"owi": 20}), "did you mean 'owl'"),
        (Amounts(counts={"owl": 20}, rare=True), "remove --classes and --rare"),
        (Amounts(to=200, rare=True, classes=("owl",)), "not both"),
        (Amounts(add=10**9), "too many"),
    ],
)
def test_impossible_amounts(amounts: Amounts, what: str):
    with pytest.raises(InputError, match=what):
        amounts.asked(HAVE, NAMES)
    with pytest.raises(InputError, match="no class has fewer than 20"):
        Amounts(to=200, rare=True).asked((600, 100), NAMES[:2])


def test_names_are_distinct_flat_and_no_split_to_datasets():
    names = Names()
    given = [
        names.original("cat", path) for path in ("a.jpg", "2020/a.jpg", "2021/A.JPG", "2020/5/a.jpg", "2020/a.jpg")
    ]
    assert given == ["a.jpg", "2020-a.jpg", "2021-A.JPG", "5-a.jpg", "a-2.jpg"]
    assert names.original("dog", "a.jpg") == "a.jpg"
    assert names.original("dog", "test_1.png") == "testx_1.png"
    assert names.original("dog", "my train-2.JPEG") == "my trainx-2.JPEG"
    assert names.original("dog", "contest.png") == "contest.png"
    assert names.original("dog", "photo", "JPEG") == "photo.jpg"
    assert names.original("dog", "photo.jpg.1", "PNG") == "photo.jpg.1.png"
    assert names.original("dog", "b.tif", suffix=".png") == "b.png"
    assert generated_name("0123456789", 3, 41) == "generated-01234567-3-00041.png"
