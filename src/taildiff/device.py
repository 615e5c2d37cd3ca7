"""The device to compute on, by name, and the precision that it has."""

from typing import TYPE_CHECKING, Literal, get_args

from taildiff.errors import SpecError, unknown

if TYPE_CHECKING:
    import torch

DeviceName = Literal["cpu", "cuda", "mps"]
"""`cuda` is a GPU by NVIDIA or, with torch for ROCm, by AMD; `mps` is the GPU of a Mac with Apple silicon."""


def chosen_device(name: str | None = None) -> str:
    """The device called `name`, also one such as `cuda:1`; without a name `cuda` if there is one, else `cpu`.

    Raises `SpecError` for a name that does not exist, and for a device that this machine or this torch lacks.
    """
    import torch

    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind not in get_args(DeviceName) or (number and not number.isdecimal()):
        raise SpecError(unknown("device", name, get_args(DeviceName)))
    have = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if kind == "cuda" and not torch.cuda.is_available():
        have["cuda"] = 0
    if int(number or 0) < have[kind]:
        return name
    if not have[kind]:
        usable = ", ".join(device for device, count in have.items() if count)
        raise SpecError(f"--device {name}: {_LACKS[kind]} (torch {torch.__version__}); this machine has {usable}")
    raise SpecError(f"--device {name}: there are only {have[kind]}, numbered from 0")


_LACKS = {
    "cuda": "torch finds no GPU; nvidia-smi shows whether the driver does, and a CPU build of torch never will",
    "mps": "torch finds no Apple GPU, which needs macOS and Apple silicon",
}


def has_bf16(device: "torch.device") -> bool:
    """Whether the device has instructions for products in bf16: a GPU that does not emulate it, avx512_bf16 or AMX."""
    import torch

    match device.type:
        case "cuda":
            return torch.cuda.is_bf16_supported(including_emulation=False)
        case "cpu":
            return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        case _:
            return False


def wide(tensor: "torch.Tensor") -> "torch.Tensor":
    """The tensor in float64, or in float32 on a device that has no float64."""
    return tensor.to(widest(tensor.device))


def widest(device: "torch.device") -> "torch.dtype":
    """float64, or float32 where the device has no float64 (`mps`)."""
    import torch

    return torch.float32 if device.type == "mps" else torch.float64
