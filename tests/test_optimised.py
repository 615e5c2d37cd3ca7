"""Under `python -O`, which removes every `assert`, taildiff does the same."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import taildiff
from evaluation import tiny
from taildiff.evaluation import classifier_network

PURE = ("isinstance", "len")
"""What an assertion may call."""
EFFECTS = (
    ast.NamedExpr,
    ast.Await,
    ast.Yield,
    ast.YieldFrom,
    ast.GeneratorExp,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
)
VERBS = """
import sys
from taildiff.cli.main import main
from taildiff.evaluation import classifier_network
classifier_network._STEPS = (2, 2)
verbs = '''
data prepare npz images.npz --out OUT/store
train mnist5k-plain --data OUT/store --out OUT/run --data.tail natural --steps 2 --batch-size 2 --model.channels 8
sample OUT/run --per-class 2 --sampler euler --steps 2 --format npz --out OUT/drawn.npz
evaluate OUT/drawn.npz --data OUT/store --metrics accuracy,frechet
'''
for verb in verbs.strip().replace("OUT", sys.argv[1]).splitlines():
    if code := main(verb.split()):
        sys.exit(f"{verb}: {code}")
"""


def effects(source: str) -> list[int]:
    """Lines of the assertions that do more than look."""
    return [
        statement.lineno
        for statement in ast.walk(ast.parse(source))
        if isinstance(statement, ast.Assert)
        and any(
            isinstance(node, EFFECTS)
            or (isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id in PURE))
            for part in (statement.test, *([statement.msg] if statement.msg else []))
            for node in ast.walk(part)
        )
    ]


def test_no_assertion_has_an_effect():
    found = {
        f"{path.name}:{line}"
        for path in Path(taildiff.__file__).parent.rglob("*.py")
        for line in effects(path.read_text(encoding="utf-8"))
    }
    assert not found


@pytest.mark.parametrize(
    "text",
    ["self.write() == 3", "(x := 3)", "a, b.pop()", "all(next(x) for _ in y)", "len(list(x))", "getattr(a, b)()"],
)
def test_an_effect_is_found(text: str):
    assert effects(f"x = 1\nassert {text}") == [2]
    assert effects("assert isinstance(a, b) and len(a) in (0, 3), f'{a.b} has {c}'") == []


@pytest.mark.slow
def test_every_verb_does_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pictures, labels = tiny.images((12, 12, 12))
    np.savez(tmp_path / "images.npz", images=pictures, labels=labels, class_names=tiny.NAMES)
    command = [sys.executable, "-O", "-c", VERBS, "optimised"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["", "plain"])
    monkeypatch.setattr(classifier_network, "_STEPS", (2, 2))
    exec(VERBS, {})  # the same commands, in this process
    same = ["run/split.json", "drawn.npz-evals/*/table.csv", *(f"store/{name}" for name in ("*.npy", "store.json"))]
    plain, optimised = (
        {path.relative_to(tmp_path / name): path for pattern in same for path in (tmp_path / name).glob(pattern)}
        for name in ("plain", "optimised")
    )
    assert len(plain) == 6
    assert {name: path.read_bytes() for name, path in plain.items()} == {
        name: path.read_bytes() for name, path in optimised.items()
    }
    with np.load(tmp_path / "plain" / "drawn.npz") as one, np.load(tmp_path / "optimised" / "drawn.npz") as other:
        assert np.array_equal(one["images"], other["images"])
