"""The parts of a dataset by their usual names: training, and held out."""

import re

_TRAINING = ("train", "training")
_HELD_OUT = ("test", "testing", "val", "valid", "validation", "dev", "eval", "evaluation", "holdout", "heldout")
_FILLERS = ("set", "data", "dataset", "images", "split")


def is_held_out(name: str) -> bool | None:
    """Whether a part of this name is held out: True for `val` or `Test_set`, False for `train`, else None."""
    words = [word for word in re.findall("[a-z]+", name.casefold()) if word not in _FILLERS]
    text = "".join(words)
    for filler in _FILLERS:
        text = text.removesuffix(filler)
    if text in _TRAINING:
        return False
    return True if text in _HELD_OUT else None
