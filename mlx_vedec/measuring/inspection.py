"""What a checkpoint is and whether it loads, found without reading its weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import mlx.core as mx

from ..checkpoints import weights
from ..checkpoints.config import read_json
from ..checkpoints.hub import fetch, required
from ..encoders.patches import pair
from ..generation.disputes import places_of
from ..generation.options import start_token
from ..images.image_processors import ImageProcessor
from ..images.loading import ImageSource
from ..layers.compiled import on_gpu
from ..layers.packed import count_weights, float_type, type_name
from ..model.config import VisionEncoderDecoderConfig
from ..model.footprint import estimate_memory
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..reading.load import load
from ..text.tokenizer import Tokenizer
from .id_readings import IdReading, id_readings

T = TypeVar("T")
# Options that name a token or decide how a text is decoded.
IDS = ("decoder_start_token_id", "bos_token_id", "eos_token_id", "pad_token_id")
OPTIONS = ("forced_bos_token_id", "forced_eos_token_id", "max_length", "num_beams")
OPTIONS = (*OPTIONS, "no_repeat_ngram_size", "length_penalty", "early_stopping", "do_sample")


@dataclass(frozen=True)
class Setting:
    """A generation option: the value that is used, and what each file says.

    source -- the place that the used value is from. values -- those of all places that have one
    """

    name: str
    used: Any
    source: str
    values: dict[str, Any]

    @property
    def disputed(self) -> bool:
        """Whether two files have different values; a config class's defaults do not count."""
        said = [v for place, v in self.values.items() if not place.startswith("default")]
        return any(value != said[0] for value in said)


@dataclass
class Inspection:
    """What was found in a checkpoint's folder; `problems` are the errors that keep it from loading.

    memory -- bytes: of the parameters, of the keys and values of an image and of a text of full
    length, and the most that reading one image takes; readings -- of an image that is given, under
    each of the ids that the files name
    """

    folder: Path
    parts: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)
    tensors: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    settings: list[Setting] = field(default_factory=list)
    tokenizer: dict[str, Any] = field(default_factory=dict)
    images: dict[str, Any] = field(default_factory=dict)
    readings: list[IdReading] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def loads(self) -> bool:
        """Whether `load` would succeed."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        settings = {s.name: {"used": s.used, "from": s.source, **s.values} for s in self.settings}
        readings = [reading.to_dict() for reading in self.readings]
        found = {**vars(self), "folder": str(self.folder)}
        found |= {"settings": settings, "readings": readings}
        return {**found, "loads": self.loads}

    def attempt(self, make: Callable[[], T]) -> T | None:
        """What `make` gives; a `ValueError` becomes a problem, unless it is one already."""
        try:
            return make()
        except ValueError as error:
            if str(error) not in self.problems:  # as config.json is read more than once
                self.problems.append(str(error))
            return None


def inspect(
    path_or_hf_repo: str | Path,
    *,
    revision: str | None = None,
    subfolder: str | None = None,
    processor: str | Path | None = None,
    image: ImageSource | None = None,
) -> Inspection:
    """Look at a folder or a Hub id as `load` would, and go on where it would stop.

    processor -- the folder or Hub id whose processor is looked at in place of the model's own
    image -- is read under each of the start, end and padding ids that the files name, to tell which
    ids the model means; the weights are read for it

    >>> from mlx_vedec.reading.load import BUNDLED
    >>> found = inspect(BUNDLED)
    >>> found.loads, found.parts["decoder"]
    (True, 'trocr: 2 layers, width 256, 4 heads, 80 positions, 278 tokens')
    """
    folder = fetch(path_or_hf_repo, revision, subfolder=subfolder)
    reads = folder if processor is None else fetch(processor, weights=False)
    found = Inspection(folder)
    config = found.attempt(lambda: VisionEncoderDecoderConfig.from_pretrained(folder))
    if config is not None:
        found.parts = _parts(config)
        model = found.attempt(lambda: VisionEncoderDecoderModel.from_folder(folder))
        if model is not None:
            _look_at_model(found, model)
            found.attempt(model.generation_options)
    images = found.attempt(lambda: ImageProcessor.from_pretrained(reads))
    if images is not None:
        found.images = images.to_dict()
        found.notes += _size_notes(images, config)
    tokenizer = found.attempt(lambda: Tokenizer.from_pretrained(reads))
    if tokenizer is not None:
        _look_at_tokenizer(found, tokenizer, config)
    if image is not None and found.loads:
        own = read_json(required(folder, "config.json"))
        read = load(folder, processor=processor)
        found.readings = id_readings(*read, image, own, folder)
    return found


def _size_notes(images: ImageProcessor, config: VisionEncoderDecoderConfig | None) -> list[str]:
    """That the processor makes images of another size than the model was built for."""
    made, own = images.made_size, config and getattr(config.encoder, "image_size", None)
    if made is None or own is None or made == pair(own):
        return []
    return [
        f"images are {_size(made)} by preprocessor_config.json and {_size(own)} by config.json; "
        "positions are interpolated where there is a table"
    ]


def _size(size: int | tuple[int, ...]) -> str:
    """Height × width, of the two or of the one number for both."""
    return "×".join(map(str, pair(size)))


def _parts(config: VisionEncoderDecoderConfig) -> dict[str, str]:
    encoder, decoder = config.encoder, config.decoder
    shape, size = decoder.shape, getattr(encoder, "image_size", None)
    layers = getattr(shape, "num_layers", None) or getattr(decoder, "num_hidden_layers", "?")
    return {
        "encoder": f"{encoder.model_type}: width {encoder.feature_dims}, "
        f"images of {'any size' if size is None else _size(size)}",
        "decoder": f"{decoder.model_type}: {layers} layers, width {shape.dims}, "
        f"{shape.num_heads} heads, {shape.positions} positions, {decoder.vocab_size} tokens",
        "between": "a projection" if config.needs_projection else "nothing",
    }


def _look_at_model(found: Inspection, model: VisionEncoderDecoderModel) -> None:
    for part in ("encoder", "decoder", "enc_to_dec_proj"):
        if part in model:
            found.parameters[part] = sum(map(count_weights, model[part].modules()))
    tensors = weights.read(found.folder)
    found.tensors = {
        "stored": len(tensors),
        "types": dict(Counter(type_name(x.dtype) for x in tensors.values())),
        "bytes": sum(x.nbytes for x in tensors.values()),
        "kept but not computed with": sorted(model._carried),
        "ignored": sorted(name for name in tensors if model.renames.ignores(name)),
    }
    found.memory = _memory(model)
    found.settings = _settings(found.folder, model)
    found.notes += [
        f"{s.name} is {s.used} by {s.source}, but not everywhere: {s.values}"
        for s in found.settings
        if s.disputed
    ]


def _memory(model: VisionEncoderDecoderModel) -> dict[str, int]:
    """Bytes on this machine, in the types that `load` would give the weights."""
    model.astype(float_type(model) if on_gpu() else mx.float32)
    estimate = estimate_memory(model)
    return {
        "parameters": weights.bytes_of(model),
        "an image": estimate.image_cache,
        "a text of full length": estimate.own_cache,
        "at most while one image is read": estimate.total,
    }


def _settings(folder: Path, model: VisionEncoderDecoderModel) -> list[Setting]:
    """The options that a file or the config class sets, with the value that generation uses."""
    config = read_json(required(folder, "config.json"))
    own = model.generation_config
    places: dict[str, Mapping[str, Any]] = {
        **places_of(folder, config),
        f"default of {type(model.config.decoder).__name__}": vars(model.config.decoder),
    }
    settings = []
    for name in (*IDS, *OPTIONS):
        values = {p: v[name] for p, v in places.items() if v.get(name) is not None}
        used = start_token(own) if name == "decoder_start_token_id" else getattr(own, name)
        if isinstance(used, tuple):
            used = list(used)
        if not values and used is None:
            continue
        source = next((place for place, value in values.items() if value == used), "nowhere")
        if name == "decoder_start_token_id" and source == "nowhere":
            source = "bos_token_id, as no place names a start"
        settings.append(Setting(name, used, source, values))
    return settings


def _look_at_tokenizer(
    found: Inspection, tokenizer: Tokenizer, config: VisionEncoderDecoderConfig | None
) -> None:
    roles = ("bos_token", "eos_token", "pad_token", "unk_token", "cls_token", "sep_token")
    named = {role: getattr(tokenizer, role) for role in roles}
    found.tokenizer = {
        "tokens": len(tokenizer),
        **{role: token for role, token in named.items() if token is not None},
    }
    if config is None:
        return
    size = config.decoder.vocab_size
    if len(tokenizer) > size:
        found.notes.append(
            f"the tokenizer has {len(tokenizer)} tokens, the embedding {size} rows: texts with the "
            "last ones cannot be given as prompts or labels"
        )
    elif len(tokenizer) < size:
        found.notes.append(
            f"the embedding has {size} rows, the tokenizer {len(tokenizer)} tokens: ids past "
            "those have no text"
        )
