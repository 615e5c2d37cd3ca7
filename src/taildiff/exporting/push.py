"""Upload an export to the Hugging Face Hub (extra `hub`)."""

from importlib import import_module
from pathlib import Path
from typing import Any

from taildiff.errors import InputError
from taildiff.io.hub import quiet
from taildiff.io.paths import reason


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


def push(folder: Path, name: str, private: bool = False) -> str:
    """Upload the folder's files in one commit to the model NAME, which is created if need be; its address.

    `InputError` without a login or network, or where the Hub refuses; the folder stays, so that it can be pushed again.
    """
    hub = check_name(name)
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
