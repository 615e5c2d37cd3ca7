"""A small store and an encoder that can be done by hand; also run by the processes that tests kill."""

import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from taildiff.data import encode
from taildiff.data.latents import LatentStore
from taildiff.data.store import SourceMeta, Store, StoreWriter
from taildiff.io import resumable_array
from taildiff.spec import CodecFacts

SIZE = 8
CODEC = CodecFacts(
    source="by hand", kind="AutoencoderKL", hash="a" * 64, channels=3, height=4, width=2, scaling=0.5, shift=0.25
)


def make_store(path: Path, test: np.ndarray, seed: int = 0, names: bool = True) -> Store:
    """Random colour images in three classes."""
    n = len(test)
    images = np.random.default_rng(seed).integers(0, 256, (n, SIZE, SIZE, 3), dtype=np.uint8)
    with StoreWriter(path, "toy", ("a", "b", "c"), (SIZE, SIZE, 3), SourceMeta(source=f"toy {seed}")) as writer:
        writer.append(images, np.arange(n) % 3, test, [f"{k}.png" for k in range(n)] if names else [])
        return writer.close()


def by_hand(images: np.ndarray) -> np.ndarray:
    """Mean and standard deviation of blocks of 2 by 4 pixels."""
    n = len(images)
    blocks = images.reshape(n, 4, 2, 2, 4, 3).astype(np.float64)  # row, of 2; column, of 4; colour
    mean, std = blocks.mean((2, 4)), blocks.std((2, 4))
    return np.stack([mean, std], 1).transpose(0, 1, 4, 2, 3).astype(np.float16)


def run(store: Path, out: Path, **options) -> LatentStore:
    return encode.encode(Store.open(store), out, CODEC, by_hand, 3, **options)


def main() -> None:
    """STORE OUT [ROWS]: encode, and die by SIGKILL when so many rows are done; without ROWS, see `kill_everywhere`."""
    resumable_array.SHARD_SECONDS = 0.0
    store, out, *rows = sys.argv[1:]
    if not rows:
        kill_everywhere(Path(store), Path(out))
        return

    def die(_stage: str, done: int, _total: int, /) -> None:
        if done >= int(rows[0]):
            os.kill(os.getpid(), signal.SIGKILL)

    run(Path(store), Path(out), progress=die)


def kill_everywhere(store: Path, out: Path) -> None:
    """OUT-1, OUT-2, …: killed behind the first, second, … step that the disk sees, and gone on with."""
    for k in itertools.count(1):
        child = os.fork()
        if not child:
            _die_behind(k)
            run(store, out)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            return
        run(store, out)
        out.rename(f"{out}-{k}")


def _die_behind(last: int) -> None:
    calls = itertools.count(1)

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            result = real(*args, **options)
            if next(calls) == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    os.fsync = dying(os.fsync)
    for name in ("rename", "replace", "unlink", "mkdir", "touch"):
        setattr(Path, name, dying(getattr(Path, name)))


if __name__ == "__main__":
    main()
