"""A run's export: the layout of its folder, and the record in it that makes the export a run's equal; no torch.

model_index.json   what diffusers reads     pipeline.py     sampling, assembled from our sources
net/               the network: a plain UNet2DModel, or with modeling.py a SiT or DiT
vae/               the VAE of a run on latents, unless it is named only
taildiff.json      `ExportMeta`             split.json      the images of the store that the run trained on
README.md          the model card           grid.png        images of some classes
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from taildiff.errors import CheckpointError, SpecError
from taildiff.io.checksum import CHECKSUM, checksum_matches, with_checksum
from taildiff.io.json_files import read_json
from taildiff.run.info import FORMAT, Format, StoreRef, check_format, upgraded
from taildiff.spec import DataFacts, RunSpec, SamplingSpec, Spec, explain, field_names


@dataclass(frozen=True)
class ExportDir:
    """The folder of an export."""

    root: Path

    @property
    def record(self) -> Path:
        """The record that `ExportMeta` describes; written last, so that its presence means finished."""
        return self.root / "taildiff.json"

    @property
    def index(self) -> Path:
        """What diffusers reads first."""
        return self.root / "model_index.json"

    @property
    def net(self) -> Path:
        """The network."""
        return self.root / "net"

    @property
    def vae(self) -> Path:
        """The VAE, if it was copied."""
        return self.root / "vae"

    @property
    def split(self) -> Path:
        """As in a run."""
        return self.root / "split.json"

    @property
    def card(self) -> Path:
        """The model card."""
        return self.root / "README.md"

    @property
    def grid(self) -> Path:
        """Images of some classes."""
        return self.root / "grid.png"

    def exists(self) -> bool:
        """Whether there is a finished export here."""
        return self.record.is_file()

    def meta(self) -> "ExportMeta":
        """The record; `CheckpointError` where it is missing or damaged."""
        try:
            values = read_json(self.record)
            check_format(values, self.record, CheckpointError)
            meta = ExportMeta.model_validate(upgraded(values))
        except SpecError as error:
            raise CheckpointError(str(error)) from None
        except ValidationError as error:
            raise CheckpointError(explain(error, str(self.record), field_names(ExportMeta))) from None
        if not checksum_matches(values):
            raise CheckpointError(f"{self.record} was changed or is damaged: export the run again")
        return meta


class ExportMeta(Spec):
    """What taildiff needs to go on with an export as with the run: to sample, evaluate or fine-tune it."""

    format: Format = FORMAT
    run: str
    """Name of the run's folder."""
    kind: str
    """`ema` or `raw`."""
    step: int
    spec: RunSpec
    facts: DataFacts
    counts: tuple[int, ...]
    """Training images per class, after the tail was cut."""
    store: StoreRef
    null_trained: bool
    """Whether guidance means something."""
    guidance: float
    sampling: SamplingSpec
    sha256: str = ""
    """Checksum of all other fields."""

    def values(self) -> dict[str, object]:
        """The content of the file."""
        return with_checksum(self.model_dump(mode="json", exclude={CHECKSUM}))
