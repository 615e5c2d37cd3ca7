"""`--config FILE`: options from TOML, with the same meaning as on the command line, which wins."""

import json
from pathlib import Path

import pytest

from cli.calls import call, said, tree
from evaluation import tiny
from taildiff.cli.parsing import parse_options
from taildiff.cli.sample import Options as Sample
from taildiff.data.store import Store
from taildiff.recipes import recipe
from taildiff.run.layout import RunDir
from taildiff.spec import RunSpec, SiTSpec


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def resolved(capsys: pytest.CaptureFixture[str], *args: object) -> RunSpec:
    assert call("train", *args, "--dry-run") == 0, capsys.readouterr().err
    return RunSpec.model_validate_json(capsys.readouterr().out)


FILE = """
steps = 3
batch-size = 8                       # hyphens and underscores are equal
precision = "32-true"
skip_spikes = 3                      # an integer for a float
"optimizer.lr" = 0.002               # dotted
[data]
tail = "natural"
resample = "None"                    # TOML has no null
flip = true
[model]
channels = [8, 16]
zero_init = false
attention = [1]
[objective]
al = { weight = 0.3, stop_gradient = true }
[objective.ucl]
weight = 0.2
[objective.custom]
args = { tap = "middle" }            # JSON
"""
WORDS = (
    *("--steps", 3, "--batch-size", 8, "--precision", "32-true", "--skip-spikes", 3, "--optimizer.lr", 0.002),
    *("--data.tail", "natural", "--data.resample", None, "--data.flip", "--model.channels", 8, 16),
    *("--model.no-zero-init", "--model.attention", 1, "--objective.al.weight", 0.3, "--objective.al.stop-gradient"),
    *("--objective.ucl.weight", 0.2, "--objective.custom.args", '{"tap":"middle"}'),
)


def test_a_file_and_options_give_one_spec(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = write(tmp_path / "run.toml", FILE)
    spec = resolved(capsys, "mnist5k-ccua", "--config", file)
    assert spec == resolved(capsys, "mnist5k-ccua", *WORDS)
    assert (spec.steps, spec.model.channels, spec.data.resample, spec.skip_spikes) == (3, (8, 16), None, 3.0)  # pyright: ignore
    assert spec != recipe("mnist5k-ccua")


def test_the_command_line_wins(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = write(tmp_path / "run.toml", FILE)
    more = ["--steps=9", "--model.channels", 16, "--data.no-flip", "--data.resample-power", 0.5]
    more += ["--model.zero_init", "--objective.al.weight", 0]
    for words in ([*more, "--config", file], [f"--config={file}", *more]):
        spec = resolved(capsys, "mnist5k-ccua", *words, "--model.attention", 0)
        assert (spec.steps, spec.batch_size, spec.data.flip, spec.data.resample_power) == (9, 8, False, 0.5)
        assert (spec.model.channels, spec.model.zero_init) == ((16,), True)  # pyright: ignore
        assert (spec.objective.al.weight, spec.objective.ucl.weight) == (0, 0.2)


def test_recipe_data_method_and_network_may_be_in_the_file(
    tiny_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    text = f'recipe = "auto-ccua"\nmethod = "cbdm"\n[data]\nstore = "{tiny_store.root}"\nratio = 0.5\n'
    file = write(tmp_path / "run.toml", text)
    spec = resolved(capsys, "--config", file)
    assert (spec.recipe, spec.objective.cbdm.weight, spec.objective.ucl.weight, spec.data.ratio) == (
        *("auto-ccua", 1, 0),
        0.5,
    )
    assert spec.batch_size == resolved(capsys, "auto-ccua", "--data", tiny_store.root).batch_size
    assert resolved(capsys, "--config", file, "--method", "t2h").objective.transfer.mode == "t2h"
    assert resolved(capsys, "mnist5k-plain", "--config", file).recipe == "mnist5k-plain"
    plain = write(tmp_path / "plain.toml", f'data = "{tiny_store.root}"')
    assert resolved(capsys, "auto-ccua", "--config", plain).recipe == "auto-ccua"
    sit = write(tmp_path / "sit.toml", '[model]\nkind = "sit"\ndepth = 2\nwidth = 16\nheads = 2\n')
    model = resolved(capsys, "mnist5k-plain", "--config", sit, "--model.heads", 4).model
    assert model == SiTSpec(depth=2, width=16, heads=4)
    assert resolved(capsys, "mnist5k-plain", "--model.kind", "sit", "--model.depth", 2).model == SiTSpec(depth=2)


def test_a_run_records_what_options_would(tiny_store: Store, tiny_spec: RunSpec, tmp_path: Path):
    base = write(tmp_path / "tiny.json", tiny_spec.model_dump_json())
    file = write(tmp_path / "run.toml", f'out = "{tmp_path}/a"\nsteps = 2\n[data]\nstore = "{tiny_store.root}"\n')
    assert call("train", base, "--config", file, "--seed", 5) == 0
    words = ("--data", tiny_store.root, "--steps", 2, "--seed", 5)
    assert call("train", base, *words, "--out", tmp_path / "b") == 0
    a, b = (RunDir(tmp_path / name).info() for name in "ab")
    assert (a.spec, a.split_hash) == (b.spec, b.split_hash)
    assert a.command == ("taildiff", "train", str(base), "--config", str(file), "--seed", "5")
    assert call("train", base, *words, "--out", tmp_path / "a") == 0  # resumes it, as nothing differs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stpes = 3", "unknown option 'stpes': did you mean 'steps'?"),
        ("[objective.ucl]\nwieght = 1", "unknown option 'objective.ucl.wieght': did you mean 'objective.ucl.weight'?"),
        ("[optimiser]\nlr = 1", "unknown option 'optimiser.lr': did you mean 'optimizer.lr'?"),
        ("a = 1\n[b]\n", "unknown option 'b'"),
        ('steps = "many"', "steps: Input should be a valid integer, unable to parse string as an integer (got 'many')"),
        ("steps = 2.5", "steps: Input should be a valid integer"),
        ("steps = [1, 2]", "steps: Input should be a valid integer"),
        ("steps = 2000-01-01", "steps: Input should be a valid integer"),
        ("steps = 0", "Input should be greater than or equal to 1"),
        ('"data.tail" = "expo"', "data.tail: Input should be 'natural', 'exp', 'step' or 'list' (got 'expo')"),
        ("[data]\nflip = 3", "data.flip: Input should be a valid boolean"),
        ('max_time = ""', "max_time is empty; give it a value or remove it"),
        ("model.channels = []", "model.channels is empty"),
        ("quiet = true", "quiet can only be given on the command line"),
        ("steps = ", "is not a readable TOML file: "),
        ('[model]\nkind = "gan"', "'gan'"),
    ],
)
def test_what_a_file_must_not_hold(text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = write(tmp_path / "run.toml", text)
    before = tree(tmp_path)
    assert call("train", "mnist5k-plain", "--config", file, "--out", tmp_path / "run") == 2
    said_text = said(capsys)
    assert message in said_text
    assert "Traceback" not in said_text
    assert "greater" in message or "gan" in message or f"{file}" in said_text
    assert tree(tmp_path) == before


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for verb in (["train", "mnist5k-plain"], ["sample", "run"], ["compare", "a", "b"]):
        assert call(*verb, "--config", tmp_path / "none.toml") == 2
        assert f"--config {tmp_path / 'none.toml'} does not exist" in said(capsys)


def test_other_verbs_take_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = tiny.make_run(tmp_path / "run", tiny.make_store(tmp_path / "store", (6, 6, 6)))
    file = write(
        tmp_path / "sample.toml",
        f'out = "{tmp_path}/x"\nper_class = 3\nclasses = ["left", "top"]\nguidance = 2\nsampler = "euler"\n'
        'guidance_interval = [0.1, 0.9]\nguidance_by_class = { left = 3, "top" = 1.5 }\nclip = false\n',
    )
    options = parse_options(Sample, [str(run.root), "--config", str(file)], "taildiff sample")
    assert (options.per_class, options.classes, options.guidance) == (3, ("left", "top"), 2)
    sampling = options.sampling
    assert (sampling.sampler, sampling.spacing, sampling.clip) == ("euler", "power", False)
    assert sampling.guidance_interval == (0.1, 0.9)
    assert dict(sampling.guidance_by_class) == {"left": 3, "top": 1.5}
    assert call("sample", run.root, "--config", file, "--omega", 0.5, "--classes", "left", "--dry-run") == 0
    assert "3 images, 3 per class, at guidance 1.5" in said(capsys)
    lists = write(tmp_path / "evaluate.toml", 'guidance = [1, 1.5]\nmetrics = "recall"\nseeds = 3\nper_class = 2\n')
    assert call("evaluate", run.root, "--config", lists, "--dry-run") == 0
    printed = capsys.readouterr().out
    spec = json.loads(printed[: printed.rindex("}") + 1])
    assert (spec["guidance"], spec["metrics"], spec["seeds"]) == ([1, 1.5], ["recall"], [3])
    assert call("sample", "--config", write(tmp_path / "bad.toml", 'run = "x"')) == 2
    assert "give RUN on the command line; a file holds options only" in said(capsys)


def test_help_shows_the_values_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = write(tmp_path / "run.toml", "steps = 77\n[data]\nflip = true\n")
    assert call("train", "mnist5k-plain", "--config", file, "--help") == 0
    text = said(capsys)
    assert "--steps N Training steps (default: 77)" in text
    assert "--data.flip, --data.no-flip Mirror each image with probability 0.5 (default: on)" in text
