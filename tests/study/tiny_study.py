"""A study that trains for seconds: three classes of 8x8 noise, a very small U-Net, two methods."""

from pathlib import Path
from typing import Any

from taildiff.data.store import Store
from taildiff.study.budget import ArmCost, Plan
from taildiff.study.file import Study

TEXT = """
title = "tiny"
[seeds]
training = [4, 5]
choose = 0
report = 1
[[datasets]]
name = "noise"
recipe = "mnist5k-plain"
data = "{store}"
changes = {{ model.channels = [8, 8], "batch_size" = 4, data.tail = "natural", "optimizer.warmup" = 0 }}
[[methods]]
name = "plain"
settings = [{{}}, {{ "optimizer.lr" = 0.01 }}]
[[methods]]
name = "al"
method = "plain"
changes = {{ "objective.al.weight" = 0.1 }}
settings = [{{}}, {{ "optimizer.lr" = 0.01 }}]
[budget]
seconds = 2
[selection]
metric = "accuracy"
[margin]
reference = "al"
group = "all"
difference = {{ accuracy = 1.0 }}
ratio = {{}}
[evaluation]
guidance = [1, 2]
per_class = 4
metrics = ["accuracy", "recall"]
[evaluation.sampling]
sampler = "euler"
steps = 1
"""
TIMES = {"plain@1": 0.1, "plain@2": 0.1, "al@1": 0.2, "al@2": 0.2}


def write(folder: Path, store: Store, **replaced: str) -> Path:
    """The study's file, with some of its text replaced."""
    text = TEXT.format(store=store.root)
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    path = folder / "tiny.toml"
    path.write_text(text)
    return path


def plan(study: Study, *_: Any) -> Plan:
    """Six steps of plain and three of `al` in equal time, without measuring anything."""
    arms = {
        f"noise/{name}": ArmCost(milliseconds=1000 * t, flop=1e6, images=4, steps={"time": round(0.6 / t), "steps": 3})
        for name, t in TIMES.items()
    }
    return Plan(hash=study.hash, machine={"hardware": {"cpu": "test"}}, arms=arms)
