"""A model put together from an encoder's and a decoder's own folders."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..checkpoints.config import Config, read_json
from ..checkpoints.hub import fetch, required
from ..decoders import DECODERS
from ..decoders.decoder import Decoder
from ..encoders import ENCODERS
from ..encoders.encoder import Encoder
from ..errors import ConfigError
from .config import VisionEncoderDecoderConfig

Parts = tuple[VisionEncoderDecoderConfig, Encoder[Any], Decoder[Any]]
OWN = ("model", "config", "dtype", "revision")  # what is no field of a config


def assemble(
    encoder: str | Path | None, decoder: str | Path | None, keywords: Mapping[str, Any]
) -> Parts:
    """The config of the whole, and its encoder and decoder, loaded or as given.

    Keywords that begin with `encoder_` or `decoder_` are for that part: its `model`, `config`,
    `dtype` or `revision`, or a field of its config. The rest is for the whole config.
    """
    whole: dict[str, Any] = {}
    own: dict[str, dict[str, Any]] = {"encoder": {}, "decoder": {}}
    for name, value in keywords.items():
        part, _, rest = name.partition("_")
        if part in own and name != "decoder_start_token_id":  # which the whole config has
            own[part][rest] = value
        else:
            whole[name] = value
    image = _loaded(encoder, "encoder", ENCODERS, own["encoder"])
    text = _loaded(decoder, "decoder", DECODERS, own["decoder"])
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(image.config, text.config)
    for name, value in whole.items():
        setattr(config, name, value)
    config.tie_word_embeddings = False
    return config, image, text


def _loaded(
    path: str | Path | None, part: str, known: Mapping[str, Any], keywords: dict[str, Any]
) -> Any:
    """An encoder or decoder: the object given, or a folder's model with its config changed."""
    if keywords.get("model") is not None:
        return keywords["model"]
    if path is None:
        raise ConfigError(f"give the {part}: a folder, a Hub id, or {part}_model=…")
    folder = fetch(path, keywords.get("revision"))
    config = keywords.get("config") or _config(folder, part, known)
    for name, value in keywords.items():
        if name not in OWN:
            _set(config, name, value, part)
    if part == "decoder":
        config.is_decoder = config.add_cross_attention = True
    family = known[config.model_type]
    return family.from_pretrained(folder, config=config, dtype=keywords.get("dtype"))


def _config(folder: Path, part: str, known: Mapping[str, Any]) -> Config:
    values = read_json(required(folder, "config.json"))
    model_type = values.get("model_type")
    if not isinstance(model_type, str) or model_type not in known:
        raise ConfigError(
            f"{folder} holds a {model_type!r} model, which is no {part} here; known are "
            f"{', '.join(known)}"
        )
    return known[model_type].config_class.from_dict(values)


def _set(config: Config, name: str, value: Any, part: str) -> None:
    fields = {*vars(config), *config.aliases, *config.extra}
    if name not in fields:
        close = difflib.get_close_matches(name, fields, n=1)
        hint = f"; did you mean {part}_{close[0]}?" if close else ""
        raise ConfigError(f"{part}_{name} is no field of a {config.model_type} config{hint}")
    config.set(name, value)
