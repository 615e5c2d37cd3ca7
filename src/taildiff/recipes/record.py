"""What a recipe is: a run by name, with its commands, its cost and the published numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import cleandoc
from typing import Any

from taildiff.recipes.methods import with_method
from taildiff.spec import RunSpec, parse


@dataclass(frozen=True)
class Recipe:
    """A named run: a base spec, the fields that differ from it, and a method."""

    name: str
    title: str
    """What is trained on which data, in one sentence."""
    base: RunSpec
    commands: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `RunSpec` that differ from `base`."""
    method: str = "ccua"
    note: str = ""
    cost: tuple[float, int, int] | None = None
    """Million parameters, PFLOP of the run, and PFLOP of the same run without any term (benchmarks/recipe_cost.py)."""
    published: str = ""
    """FID by paper, each measured in that paper's own harness."""

    @property
    def spec(self) -> RunSpec:
        """The resolved run."""
        values = {**self.base.model_dump(), "recipe": self.name, **self.changes}
        return with_method(parse(RunSpec, values, self.name), self.method)

    @property
    def text(self) -> str:
        """The description: title, commands, note, cost and published numbers."""
        parts = [self.title, cleandoc(self.commands), cleandoc(self.note), self._numbers()]
        return "\n\n".join(part for part in parts if part)

    def _numbers(self) -> str:
        if self.cost is None:
            return ""
        spec, (parameters, pflop, plain) = self.spec, self.cost
        size = f"{parameters:.2f} M parameters, {spec.steps:,} steps of {spec.batch_size}"
        work = f"{spec.steps * spec.batch_size / 1e6:.1f} M images, {pflop:,} PFLOP (plain {plain:,})"
        published = f", other harnesses: {self.published}" if self.published else ": none known to us"
        return f"Cost: {size}: {work}.\nPublished FID{published}."
