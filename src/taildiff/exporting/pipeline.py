"""The pipeline of exported runs. `assemble` writes it into each folder, so that it also runs without taildiff.

    from taildiff.diffusers import TaildiffPipeline                         # or, without taildiff installed,
    pipe = TaildiffPipeline.from_pretrained("OUT")                          # DiffusionPipeline.from_pretrained(
    images = pipe(["owl", "owl", "yak"], guidance_scale=1.5, seed=0).images    # "OUT", trust_remote_code=True)

The images are those of `taildiff sample`: one depends on the seed, its label and its rank among the images of that
label, and not on the batch.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DiffusionPipeline, ImagePipelineOutput, UNet2DModel
from PIL import Image
from torch import Tensor

from taildiff.data.batches import to_images
from taildiff.diffusion.guidance import Network, guided
from taildiff.diffusion.process import DDPM, Flow, Process
from taildiff.errors import InputError, SpecError, unknown
from taildiff.models.codec import decode
from taildiff.run.null_label import check_guidance
from taildiff.sampling.generate import Labels, check_images, class_labels, images_of, ranks_of, usual_batch


class TaildiffPipeline(DiffusionPipeline):
    """Images of classes, by label or by name."""

    model_cpu_offload_seq = "net->vae"
    _optional_components = ["vae"]  # noqa: RUF012 (as in diffusers)

    def __init__(
        self,
        net: Any,
        vae: Any = None,
        process: dict | None = None,
        sampling: dict | None = None,
        images: dict | None = None,
        latents: dict | None = None,
        id2label: dict | None = None,
        null_trained: bool = True,
    ):
        super().__init__()
        self.register_modules(net=net, vae=vae)
        self.register_to_config(
            process=process,
            sampling=sampling,
            images=images,
            latents=latents,
            id2label=id2label,
            null_trained=null_trained,
        )

    @property
    def class_names(self) -> list[str]:
        """Names of the labels 0, 1, …"""
        names = self.config["id2label"] or {}
        return [names[str(label)] for label in range(len(names))]

    @torch.no_grad()
    def __call__(
        self,
        class_labels: Labels,
        guidance_scale: float | None = None,
        num_inference_steps: int | None = None,
        seed: int | None = None,
        generator: torch.Generator | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        batch_size: int | None = None,
        **sampling: Any,
    ) -> Any:
        """One image per label, in the order given.

        Args:
            class_labels: labels or names of classes.
            guidance_scale: g in null + g (conditional - null); 1 is none. Default: the export's.
            num_inference_steps: sampler steps. Default: the export's.
            seed: default: the export's. Each image has its own noise, by seed, label and rank.
            generator: in place of `seed`: the seed that it was made with is used.
            output_type: `pil`, `np` (N, H, W, C) or `pt` (N, C, H, W), both float32 in [0, 1].
            return_dict: False returns a tuple.
            batch_size: images sampled together.
            sampling: other settings of `taildiff sample`: sampler, spacing, exponent, rho, variance, clip, …

        Raises:
            InputError: a `ValueError`, for an unknown class or setting, or guidance on an untrained null label.
        """
        given = {"steps": num_inference_steps, "seed": generator.initial_seed() if generator else seed, **sampling}
        settings = self._settings({name: value for name, value in given.items() if value is not None})
        guidance = self.config["sampling"]["guidance"] if guidance_scale is None else float(guidance_scale)
        check_guidance(self.config["null_trained"], [guidance], "this model")
        if output_type not in ("pil", "np", "pt"):
            raise SpecError(unknown("output_type", output_type, ("pil", "np", "pt")))
        x = self._images(class_labels, guidance, settings, batch_size)
        check_images(x, guidance)
        self.maybe_free_model_hooks()
        images: Any = _converted(x, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _settings(self, given: dict[str, Any]) -> Any:
        """The export's settings with those given."""
        known = {name: value for name, value in self.config["sampling"].items() if name != "guidance"}
        for name in given:
            if name not in known:
                raise SpecError(unknown("sampling setting", name, known))
        return SimpleNamespace(**{**known, **given})

    def _images(self, labels: Labels, guidance: float, settings: Any, batch_size: int | None) -> Tensor:
        """(N, C, H, W), about in [-1, 1]."""
        index, size = class_labels(labels, self.class_names), self.config["images"]
        ranks, shape = ranks_of(index), self._shape()
        network = guided(self._network(), guidance, self._null_label())
        clip = settings.clip and self.config["latents"] is None
        rows = batch_size or usual_batch(size["height"], size["width"])
        done = [torch.empty(0, size["channels"], size["height"], size["width"])]
        process, device = _process(self.config["process"]), self._where()
        bars: Any = self.progress_bar
        with bars(total=len(index) * settings.steps) as bar:
            for start in range(0, len(index), rows):
                part, x = slice(start, start + rows), done[0]
                try:
                    for x in images_of(network, process, index[part], ranks[part], shape, settings, clip, device):
                        bar.update(len(x))
                except AssertionError as error:  # of `assert_never`: a sampler or spacing that does not exist
                    raise InputError(f"unknown sampler or spacing: {settings.sampler}, {settings.spacing}") from error
                done.append(self._decoded(x).cpu())
        return torch.cat(done)

    def _where(self) -> torch.device:
        return torch.device(self._execution_device)

    def _shape(self) -> tuple[int, int, int]:
        inner = self.config["latents"] or self.config["images"]
        return inner["channels"], inner["height"], inner["width"]

    def _null_label(self) -> int:
        return len(self.config["id2label"])

    def _network(self) -> Network:
        """The network's prediction as a function of (x_s, s, labels), in float32 whatever its own type."""
        net, dtype = self.net, self.net.dtype

        def unet(x: Tensor, s: Tensor, y: Tensor) -> Tensor:
            return net(x.to(dtype), 1000 * s, y).sample.float()

        def transformer(x: Tensor, s: Tensor, y: Tensor) -> Tensor:
            return net(x.to(dtype), s, y).prediction.float()

        return unet if isinstance(net, UNet2DModel) else transformer

    def _decoded(self, x: Tensor) -> Tensor:
        """Images of what the network works on."""
        latents, size = self.config["latents"], self.config["images"]
        if latents is None:
            return x
        if self.vae is None:
            kind = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}[latents["kind"]]
            self.vae = kind.from_pretrained(latents["source"], subfolder=latents["subfolder"] or None)
            self.vae.to(self._where())
        return decode(
            self.vae, x, latents["scaling"], latents["shift"], size["channels"], (size["height"], size["width"])
        )


def _process(config: dict[str, Any]) -> Process:
    """The diffusion process that the network was trained on."""
    if config["kind"] == "ddpm":
        return DDPM(config["timesteps"], config["beta_start"], config["beta_end"])
    return Flow()


def _converted(x: Tensor, output_type: str) -> "Tensor | np.ndarray | Sequence[Image.Image]":
    """Images (N, C, H, W) in [-1, 1] in the requested form."""
    if output_type == "pil":
        return [Image.fromarray(image[..., 0] if image.shape[2] == 1 else image) for image in to_images(x)]
    values = x.float().add(1).div(2).clamp(0, 1)
    return values if output_type == "pt" else values.permute(0, 2, 3, 1).numpy()
