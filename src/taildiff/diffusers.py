"""Exported runs as a pipeline of diffusers, without running the code in their folders.

from taildiff.diffusers import TaildiffPipeline

pipe = TaildiffPipeline.from_pretrained("exported")        # from taildiff export RUN exported --to diffusers
images = pipe(["owl", "yak"], guidance_scale=1.5, seed=0).images
"""

import os
from typing import Any, Self

import torch
from diffusers import UNet2DModel

from taildiff.errors import CheckpointError
from taildiff.exporting import pipeline
from taildiff.exporting.modeling import TaildiffTransformer
from taildiff.io.hub import find_folder
from taildiff.io.json_files import read_json
from taildiff.models.vae_files import read_autoencoder
from taildiff.run.exported import ExportDir

__all__ = ["TaildiffPipeline", "TaildiffTransformer"]


class TaildiffPipeline(pipeline.TaildiffPipeline):
    """Images of classes, by label or by name: `pipe(class_labels, guidance_scale=…, seed=…)`."""

    @classmethod
    def from_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride] (no remote code, so none of its options)
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        vae: Any = None,
        torch_dtype: torch.dtype | None = None,
        **ignored: Any,
    ) -> Self:
        """The pipeline in a folder, or under a name on the Hugging Face Hub.

        Args:
            pretrained_model_name_or_path: the folder, or OWNER/NAME.
            vae: the VAE of a model on latents in place of the copied or named one.
            torch_dtype: of the network's weights; default: float32.
            ignored: options of diffusers for other ways of loading.

        Raises:
            TaildiffError: for a folder that is no export, or a damaged one.
        """
        folder = ExportDir(find_folder(pretrained_model_name_or_path))
        values, meta = read_json(folder.index), folder.meta()
        kind = UNet2DModel if meta.spec.model.kind == "unet" else TaildiffTransformer
        try:
            net: Any = kind.from_pretrained(folder.net, torch_dtype=torch_dtype, low_cpu_mem_usage=False)
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{folder.net} is damaged: {str(error).splitlines()[0]}") from None
        if vae is None and folder.vae.is_dir():
            vae = read_autoencoder(str(folder.vae), (meta.facts.height, meta.facts.width)).module
        fields = ("process", "sampling", "images", "latents", "id2label", "null_trained")
        pipe = cls(net, vae, **{name: values[name] for name in fields if name in values})
        pipe.register_to_config(_name_or_path=str(pretrained_model_name_or_path))
        return pipe
