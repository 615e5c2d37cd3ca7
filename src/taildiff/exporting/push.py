"""Upload an export to the Hugging Face Hub (extra `hub`)."""

from importlib import import_module
from pathlib import Path
from typing import Any

from taildiff.errors import InputError
from taildiff.io.hub import is_hub_name, quiet
from taildiff.io.json_files import read_json
from taildiff.io.paths import reason
from taildiff.log import log
from taildiff.run.exported import ExportDir
from taildiff.run.info import MAY_CHANGE, changed
from taildiff.run.layout import RunDir


def check_name(name: str) -> Any:
    """huggingface_hub; `InputError` where it is missing, or could not take `name`."""
    try:
        hub: Any = import_module("huggingface_hub")
    except ImportError:
        raise InputError("--push needs huggingface_hub: pip install 'taildiff[hub]'") from None
    try:
        hub.utils.validate_repo_id(name)
    except ValueError as error:
        raise InputError(f"--push {name} is not OWNER/NAME: {reason(error)}") from None
    return hub


def check_vae(source: str) -> None:
    """`InputError` for a VAE that is named where only this machine has it."""
    if not is_hub_name(source):
        raise InputError(
            f"the VAE is named by the local path {source}, which nobody else has: export to a new folder with "
            "--vae-as copy, or with --vae OWNER/NAME, then push that"
        )


def check_same_run(folder: ExportDir, run: RunDir, step: int | None) -> None:
    """`InputError` for the export of another run or step; a warning where the run has newer weights by now."""
    record, info = folder.meta(), run.info()
    free = [*MAY_CHANGE, "steps", "data.list"]
    if record.store.hash != info.store.hash or changed(record.spec, info.spec, free):
        raise InputError(
            f"{folder.root} is an export of {record.run}, another run than {run.root}; export that one to a new folder"
        )
    newest = max(run.weight_steps(record.kind), default=record.step)
    if step not in (None, record.step):
        raise InputError(f"{folder.root} has the weights of step {record.step}; export step {step} to a new folder")
    if step is None and newest > record.step:
        log.warning(
            f"{folder.root} has the weights of step {record.step}, and {run.root} is at step {newest}; to push those, "
            "export to a new folder"
        )


def check_export(folder: ExportDir) -> None:
    """`InputError` for an export that others cannot use, or that says where things are on this machine."""
    latents = read_json(folder.index).get("latents")
    if latents and not folder.vae.is_dir():
        check_vae(str(latents.get("source")))
    if folder.meta().store.path:
        raise InputError(
            f"{folder.root} was exported by an older version, which recorded the path of the store; export the run to "
            "a new folder, then push that"
        )


def push(folder: Path, name: str, private: bool = False) -> str:
    """Upload the folder's files in one commit to the model NAME, which is created if need be; its address.

    `InputError` for an export that shows local paths, without a login or network, or where the Hub refuses; the folder
    stays, so that it can be pushed again.
    """
    hub = check_name(name)
    check_export(ExportDir(folder))
    api = hub.HfApi()
    with quiet(hub):
        try:
            place = api.create_repo(name, private=private, exist_ok=True)
            api.upload_folder(folder_path=str(folder), repo_id=place.repo_id, commit_message="Export from taildiff")
        except Exception as error:  # no login, no access, no network: the type depends on the library's version
            raise InputError(
                f"{folder} is complete, but could not be pushed to {name}: {reason(error)}. Log in (hf auth login), "
                "then rerun the same command"
            ) from None
    return str(place)
