"""`load`: a checkpoint's model and its processor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, overload

import mlx.core as mx

from ..adapters.wrapping import load_adapters
from ..errors import as_path
from ..layers.quantization_config import QuantizationConfig
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from .image_sizes import match_images, restore_images
from .new_tokens import restore_added
from .processor import Processor, of_own_steps
from .vocabularies import restore_vocabulary

if TYPE_CHECKING:
    from typing_extensions import Unpack

BUNDLED = Path(__file__).parents[1] / "assets"


class Loading(TypedDict, total=False):
    """What `load` takes beside the model, whatever it returns."""

    processor: str | Path | None
    image_steps: str | None
    adapter_path: str | Path | None
    dtype: str | mx.Dtype | None
    quantize: int | QuantizationConfig | None
    lazy: bool
    revision: str | None
    subfolder: str | None


@overload
def load(
    path_or_hf_repo: str | Path | None = ...,
    *,
    return_config: Literal[False] = ...,
    **how: Unpack[Loading],
) -> tuple[VisionEncoderDecoderModel, Processor]: ...
@overload
def load(
    path_or_hf_repo: str | Path | None = ...,
    *,
    return_config: Literal[True],
    **how: Unpack[Loading],
) -> tuple[VisionEncoderDecoderModel, Processor, dict[str, Any]]: ...
def load(
    path_or_hf_repo: str | Path | None = None,
    *,
    processor: str | Path | None = None,
    image_steps: str | None = None,
    adapter_path: str | Path | None = None,
    dtype: str | mx.Dtype | None = None,
    quantize: int | QuantizationConfig | None = None,
    lazy: bool = False,
    revision: str | None = None,
    subfolder: str | None = None,
    return_config: bool = False,
) -> tuple[Any, ...]:
    """A model in `eval()` mode and its processor: of a folder, a Hub id, or the bundled ones.

    processor -- the folder or Hub id whose processor is taken in place of the model's own. Where it
    makes images of another size than the model was built for, positions are interpolated, and a
    warning says so.
    image_steps -- "texteller", "nougat-latex" or "texify": images and texts are treated as that
    project's own code does, for a folder that does not say so itself.
    adapter_path -- adapters, ours or PEFT's, for the model as it then is; they keep their type.
    dtype -- of the parameters; by default the file's, but float32 for half types on a CPU.
    quantize -- the weights to so many bits, or as a `QuantizationConfig` says.
    lazy -- leave the weights unread until they are used. return_config -- the config as a third.
    subfolder -- of the folder or the repository, where the checkpoint is.

    >>> model, processor = load()
    >>> model.config.encoder.model_type
    'vit'
    """
    source = BUNDLED if path_or_hf_repo is None else path_or_hf_repo
    model = VisionEncoderDecoderModel.from_pretrained(
        source,
        dtype=dtype,
        quantize=quantize,
        lazy=lazy,
        revision=revision,
        subfolder=subfolder,
    )
    where = {"revision": revision, "subfolder": subfolder}
    reads = processor_of(source, processor, image_steps=image_steps, **where)
    model.name_or_path = _name(path_or_hf_repo)
    if adapter_path is not None:
        reads = adapt(model, reads, adapter_path, requantized=quantize is not None)
    match_images(model, reads)
    return (model, reads, model.config.to_dict()) if return_config else (model, reads)


def adapt(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    adapter_path: str | Path,
    *,
    requantized: bool = False,
) -> Processor:
    """Put adapters on a model, after the tokens, image size and image processor they came with.

    requantized -- whether the model may be quantized otherwise than the one they were trained on.
    Returns the processor that reads with them.
    """
    folder = as_path(adapter_path, "adapter_path")
    restore_vocabulary(model, processor, folder)
    restore_added(model, processor, folder)
    restore_images(model, processor, folder)
    load_adapters(model, folder, requantized=requantized)
    return of_own_steps(processor)


def processor_of(
    model: str | Path,
    processor: str | Path | None,
    *,
    image_steps: str | None = None,
    **where: str | None,
) -> Processor:
    """The processor in a model's folder, or else of the folder or Hub id that is given for it.

    image_steps -- `load`'s; where -- `revision` and `subfolder` of the model's
    """
    if processor is None:
        return Processor.from_pretrained(model, image_steps=image_steps, **where)
    return Processor.from_pretrained(processor, image_steps=image_steps)


def _name(source: str | Path | None) -> str:
    """What a model is called in what is made with it: a Hub id, or a folder's own name."""
    if source is None:
        return "the bundled line reader"
    folder = Path(source).expanduser()
    return folder.resolve().name if folder.is_dir() else str(source)
