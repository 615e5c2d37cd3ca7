"""What an export shows to others: names, and no folder of the machine that wrote it."""

import re
from pathlib import Path, PurePath

from taildiff.io.hub import is_hub_name
from taildiff.run.exported import ExportMeta
from taildiff.run.info import StoreRef

_PATH = re.compile(r"(?<![\w/.~])[~.]{0,2}/(?:[^\s/,;:()]+/)*([^\s/,;:()]+)")


def public_record(record: ExportMeta, vae: str | None) -> ExportMeta:
    """The record without the places of store, VAE and list of images; the store is known by its hash.

    `vae`: the place of a VAE that is not copied, which has to be named.
    """
    spec, facts = record.spec, record.facts
    if spec.data.list is not None:
        data = spec.data.model_copy(update={"list": Path(spec.data.list.name)})
        spec = spec.model_copy(update={"data": data})
    if facts.codec is not None:
        codec = facts.codec.model_copy(update={"source": vae or public_source(facts.codec.source)})
        facts = facts.model_copy(update={"codec": codec})
    store = StoreRef(path="", hash=record.store.hash)
    return record.model_copy(update={"spec": spec, "facts": facts, "store": store})


def public_source(source: str) -> str:
    """A name on the Hub as it is; of a path the last part alone."""
    return source if is_hub_name(source) else PurePath(source).name


def public_text(text: str) -> str:
    """A sentence with the last part alone of each path in it.

    >>> public_text("cached beside /home/me/store (/home/me/store/x.npz: Permission denied)")
    'cached beside store (x.npz: Permission denied)'
    """
    return _PATH.sub(r"\1", text)
