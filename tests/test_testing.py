"""The contract checks: a good part passes, and of a broken one the rule that it breaks is named.

The tests of each room put the package's own parts through them.
"""

import random
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from taildiff import testing
from taildiff.data.formats.importer import Importer
from taildiff.data.source import Found, Source, check_place, fingerprint_of
from taildiff.diffusion.samplers.ddim import DDIM
from taildiff.errors import DataError, SpecError
from taildiff.models.denoiser import Denoiser, Output
from taildiff.objectives.ccua import Alignment
from taildiff.objectives.dispersive import Dispersive
from taildiff.objectives.objective import Need, Term
from taildiff.objectives.views import GIVEN, NULL
from taildiff.spec import ALSpec, DispersiveSpec, TermSpec

# ---- broken terms


class Pull(Term):
    """A good term: the squared features under the given labels."""

    name, needs = "pull", (Need(GIVEN, "middle"),)

    def forward(self, step):
        return step.features(GIVEN, "middle").square().flatten(1).mean(1) * ~step.draws.dropped


class Averages(Pull):
    def forward(self, step):
        return super().forward(step).mean()


class LeavesOut(Pull):
    def forward(self, step):
        return super().forward(step)[~step.draws.dropped]


class DividesByKept(Pull):
    def forward(self, step):
        return super().forward(step) / (~step.draws.dropped).sum()


class Random(Pull):
    def forward(self, step):
        return super().forward(step) * torch.rand(8)


class Remembers(Pull):
    calls = 0

    def forward(self, step):
        self.calls += 1
        return super().forward(step) * self.calls


class Detaches(Pull):
    def forward(self, step):
        return super().forward(step).detach() + 0 * step.features(GIVEN, "middle").sum()


class SkipsItsHead(Pull):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(1, 1)

    def forward(self, step):
        values = super().forward(step)
        return values if step.draws.dropped.all() else self.head(values[:, None]).flatten()


class Compares(Pull):
    def forward(self, step):
        values = super().forward(step)
        return values + values.mean()


class GathersWrongly(Compares):
    gather = False

    def forward(self, step):
        return super().forward(step) * (2 if self.gather else 1)


class ReadsMore(Pull):
    def forward(self, step):
        return super().forward(step) + step.prediction(NULL).flatten(1).mean(1)


class NeedsNothing(Pull):
    needs = ()


def test_a_good_term_passes():
    testing.check_term(Pull())


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (Averages, r"returns the shape \(\) for a batch of 8: return one value per sample"),
        (LeavesOut, r"returns the shape \(0,\)|returns the shape \(\d,\)"),
        (DividesByKept, "not finite: clamp denominators"),
        (Random, "other values for the same step: draw random numbers through `uniforms`"),
        (Remembers, "keep no state between steps"),
        (Detaches, "sends no gradient to the network"),
        (SkipsItsHead, r"skips its parameter \['head.weight'\] for some batches"),
        (Compares, "has no `gather` flag: .*taildiff.losses.gathered"),
        (GathersWrongly, "`gather` must not change the loss of a single process"),
        (ReadsMore, r"reads Need\(view=Null.*not in its `needs`: add it"),
        (NeedsNothing, "needs is empty"),
    ],
)
def test_a_broken_term_is_named(term, message):
    with pytest.raises(AssertionError, match=f"{term.__name__}.*{message}"):
        testing.check_term(term())


class Small(Denoiser):
    """A good network: three convolutions, with taps behind the first two."""

    classes, tap_names = 3, ("first", "middle")

    def __init__(self):
        super().__init__()
        self.first, self.middle, self.last = (nn.Conv2d(i, o, 3, padding=1) for i, o in ((2, 8), (8, 8), (8, 2)))
        self.labels, self.level = nn.Embedding(4, 8), nn.Linear(1, 8)

    def width(self, tap):
        return 8

    def forward(self, x_s, s, y, taps=(), full=None):
        recorder = self.recorder(taps, len(x_s), full)
        c = self.labels(y) + self.level(s[:, None].to(x_s.dtype))
        x = self.first(x_s) + c[:, :, None, None]
        if recorder.record("first", x):
            return recorder.output()
        x, c = recorder.keep(x, c)
        x = self.middle(x.sigmoid()) + c[:, :, None, None]
        if recorder.record("middle", x):
            return recorder.output()
        (x,) = recorder.keep(x)
        return recorder.output(self.last(x.sigmoid()))


class DependsOnRows(Small):
    def forward(self, x_s, s, y, taps=(), full=None):
        return super().forward(x_s / len(x_s), s, y, taps, full)


def test_a_fused_forward_that_differs_is_named():
    with pytest.raises(AssertionError, match="Alignment differs between the fused forward and separate ones"):
        testing.check_term(Alignment(NULL), DependsOnRows())


def test_a_block_must_make_the_term_and_say_that_it_compares(monkeypatch):
    with pytest.raises(AssertionError, match=r"build\.term makes a Alignment of ALSpec"):
        testing.check_term(Pull(), block=ALSpec())
    monkeypatch.setattr(DispersiveSpec, "compares_samples", False)
    with pytest.raises(AssertionError, match="DispersiveSpec must set `compares_samples = True`"):
        testing.check_term(Dispersive("middle"), block=DispersiveSpec())

    class Unregistered(TermSpec):
        compares_samples: ClassVar[bool] = False

    with pytest.raises(AssertionError, match="no field of the type Unregistered: add one"):
        testing.check_term(Pull(), block=Unregistered())


# ---- broken samplers


class TwoStep(DDIM):
    """A good one with a history: the prediction halfway to the next level, from the last two."""

    def step(self, x, s, s_next, predict, noise, state=None):
        now = predict(x, s)
        x0 = now if state is None else now + (now - state) / 2
        return super().step(x, s, s_next, lambda *_: x0, noise)[0], now


class Hidden(DDIM):
    last = None

    def step(self, x, s, s_next, predict, noise, state=None):
        x, self.last = TwoStep(self.process).step(x, s, s_next, predict, noise, self.last)
        return x, None


class ChangesItsState(TwoStep):
    def step(self, x, s, s_next, predict, noise, state=None):
        state = {} if state is None else state
        x, state["last"] = super().step(x, s, s_next, predict, noise, state.get("last"))
        return x, state


class StateOfTheBatch(TwoStep):
    """Its history has the images of a batch in the last dimension."""

    def step(self, x, s, s_next, predict, noise, state=None):
        x, now = super().step(x, s, s_next, predict, noise, None if state is None else state.movedim(-1, 0))
        return x, now.movedim(0, -1)


class InPlace(DDIM):
    def step(self, x, s, s_next, predict, noise, state=None):
        return x.copy_(super().step(x, s, s_next, predict, noise)[0]), None


class OwnNoise(DDIM):
    def step(self, x, s, s_next, predict, noise, state=None):
        return super().step(x, s, s_next, predict, noise)[0] + 1e-4 * torch.randn_like(x), None


class TooFar(DDIM):
    def step(self, x, s, s_next, predict, noise, state=None):
        return 1.001 * super().step(x, s, s_next, predict, noise)[0], None


class OfTheBatch(DDIM):
    def step(self, x, s, s_next, predict, noise, state=None):
        return super().step(x, s, s_next, predict, noise)[0] + 1e-6 * x.mean(), None


class OtherShape(DDIM):
    def step(self, x, s, s_next, predict, noise, state=None):
        y = super().step(x, s, s_next, predict, noise)[0]
        return (y if len(x) > 3 else y[:2]), None


def test_a_sampler_with_a_history_passes():
    testing.check_sampler(TwoStep)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Hidden, "the same step gives other images the second time: .*as `state`"),
        (ChangesItsState, "change no state in place"),
        (StateOfTheBatch, "with some images of a batch and their part of the state"),
        (InPlace, "changes x in place"),
        (OwnNoise, "draw noise from `noise` only"),
        (TooFar, r"deviation 0.3 have mean 0\.\d+ and deviation"),
        (OfTheBatch, "an image depends on the others in its batch"),
        (OtherShape, r"returns the shape \(2, 1, 4, 4\)"),
    ],
)
def test_a_broken_sampler_is_named(make, message):
    with pytest.raises(AssertionError, match=f"{make.__name__} on DDPM: .*{message}"):
        testing.check_sampler(make)


# ---- broken networks


class Noisy(Small):
    def forward(self, x_s, s, y, taps=(), full=None):
        return super().forward(x_s + torch.randn_like(x_s), s, y, taps, full)


class NoNullLabel(Small):
    def forward(self, x_s, s, y, taps=(), full=None):
        return super().forward(x_s, s, y.clamp(max=2), taps, full)


class IgnoresFull(Small):
    def forward(self, x_s, s, y, taps=(), full=None):
        return super().forward(x_s, s, y, taps)


class ComputesAll(Small):
    def forward(self, x_s, s, y, taps=(), full=None):
        whole, full = super().forward(x_s, s, y, taps), len(x_s) if full is None else full
        return Output(whole.prediction[:full] if full else None, whole.features)


class CutsEarly(Small):
    def forward(self, x_s, s, y, taps=(), full=None):
        out = super().forward(x_s, s, y, taps, full)
        return Output(out.prediction, tuple(torch.zeros_like(f) if full == 1 else f for f in out.features))


class OwnOrder(Small):
    def forward(self, x_s, s, y, taps=(), full=None):
        return super().forward(x_s, s, y, sorted(taps), full)


class AcceptsAnyTap(Small):
    def place(self, tap):
        return tap if tap in self.tap_names else "first"


class ForgetsATap(Small):
    tap_names = ("first", "middle", "third")


class WrongWidth(Small):
    def width(self, tap):
        return 5


class Idle(Small):
    def __init__(self):
        super().__init__()
        self.spare = torch.nn.Linear(1, 1)


class Single(Small):
    def forward(self, x_s, s, y, taps=(), full=None):
        out = super().forward(x_s, s, y, taps, full)
        return out._replace(prediction=None if out.prediction is None else out.prediction.float())


def test_a_good_network_passes():
    testing.check_denoiser(Small, testing.SHAPE)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Noisy, r"is random in eval\(\)"),
        (NoNullLabel, "predicts the same under two labels: embed labels 0..C"),
        (DependsOnRows, "a prediction depends on the other rows"),
        (IgnoresFull, "predicts 4 rows with full=0: predict the first `full` rows only"),
        (ComputesAll, "computes rows that nobody needs: .*recorder.keep"),
        (CutsEarly, "gives other numbers with full=1 and the tap 'first'"),
        (OwnOrder, "one feature per requested tap, in that order"),
        (AcceptsAnyTap, "accepts a tap that does not exist"),
        (WrongWidth, r"the tap 'middle' has the shape \(4, 8, 8, 8\), .*width\('middle'\) = 5"),
        (Idle, r"the parameter \['spare.weight'\] gets no gradient"),
        (Single, "torch.float32 for .*torch.float64: the prediction must have the shape and type of the images"),
    ],
)
def test_a_broken_network_is_named(make, message):
    with pytest.raises(AssertionError, match=f"{make.__name__}.*{message}"):
        testing.check_denoiser(make, testing.SHAPE)


def test_a_tap_that_is_never_recorded_is_named():
    with pytest.raises(SpecError, match="never recorded the tap 'third'"):
        testing.check_denoiser(ForgetsATap, testing.SHAPE)


# ---- broken importers


def lines(source: Path) -> list[str]:
    check_place(source)
    return source.read_text().split()


class Text:
    """A good importer: lines `label,value`, each an image of one value; variants break one rule each."""

    test = np.bool_

    def find(self, source: Path) -> Found:
        lines(source)
        return Found(str(source), source.stem, self.fingerprint(source), (), lambda: self.read(source))

    def fingerprint(self, source):
        return fingerprint_of([source])

    def rows(self, source):
        return [tuple(map(int, line.split(","))) for line in lines(source)]

    def names(self, rows):
        return [f"line {i}" for i in range(len(rows))]

    def pictures(self, rows, start):
        return iter([np.full((5, 5), value, np.uint8) for _, value in rows[start:]])

    def read(self, source):
        rows = self.rows(source)
        labels = np.array([label for label, _ in rows])
        return Source(
            ("a", "b"), labels, np.zeros(len(rows), self.test), partial(self.pictures, rows), self.names(rows)
        )


class OneToTwo(Text):
    def rows(self, source):
        return [(label + 1, value) for label, value in super().rows(source)]


class Timed(Text):
    def fingerprint(self, source):
        return str(random.random())


class Unsorted(Text):
    def rows(self, source):
        return random.sample(rows := super().rows(source), len(rows))


class NoStart(Text):
    def pictures(self, rows, start):
        return super().pictures(rows, 0)


class SameNames(Text):
    def names(self, rows):
        return ["image"] * len(rows)


class Floats(Text):
    def pictures(self, rows, start):
        return (image / 255 for image in super().pictures(rows, start))


class IntegerTest(Text):
    test = np.int64


class FewPictures(Text):
    def pictures(self, rows, start):
        return super().pictures(rows[1:], start)


class Decodes(Text):
    def find(self, source):
        if source.exists():
            Image.open(source)
        return super().find(source)


class OwnError(Text):
    def find(self, source):
        if not source.exists():
            raise DataError("nothing here")
        return super().find(source)


@pytest.fixture
def text(tmp_path):
    (tmp_path / "data.txt").write_text("".join(f"{i % 2},{20 * i}\n" for i in range(12)))
    return tmp_path / "data.txt"


def test_a_good_importer_passes(text):
    testing.check_importer(Importer("text", "file", "lines of label,value", Text().find), text)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (OneToTwo, r"labels are 1\.\.2 for 2 class names; number them 0\.\.1"),
        (Timed, "must give the same source, fingerprint"),
        (Unsorted, "two reads of the same source differ: sort"),
        (NoStart, r"pictures\(1\) must give the pictures from that position on"),
        (SameNames, "one unique name per item"),
        (Floats, "a picture must be the path of a file, encoded bytes, or uint8"),
        (IntegerTest, "test must be bool"),
        (FewPictures, r"pictures\(0\) gives 11 pictures for 12 labels"),
        (Decodes, "find opens an image"),
        (OwnError, "must raise a DataError that names a source that does not exist"),
    ],
)
def test_a_broken_importer_is_named(kind, message, text):
    with pytest.raises(AssertionError, match=f"importer text: .*{message}"):
        testing.check_importer(Importer("text", "file", "lines of label,value", kind().find), text)


def test_an_importer_without_help_or_with_a_bare_option_is_named(text):
    with pytest.raises(AssertionError, match="help must be one line"):
        testing.check_importer(Importer("text", "file", "", Text().find), text)
    with pytest.raises(AssertionError, match=r"annotate each option of find as Annotated\[type, Option\(help\)\]"):
        testing.check_importer(Importer("text", "file", "help", lambda source, size=3: Text().find(source)), text)
