"""Other tokens for a model: the rows of its tables, and the ids of tokens in its configs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..checkpoints.config import Config
from ..errors import ConfigError
from ..generation.disputes import Dispute
from ..layers.lora import check_no_adapters

if TYPE_CHECKING:
    from .vision_encoder_decoder import VisionEncoderDecoderModel

NAMED = "_token_id"  # the end of the names of fields that have the id of a token, or several
UNWANTED = ("suppress_tokens", "begin_suppress_tokens")
AVOIDED = (*UNWANTED, "bad_words_ids", "sequence_bias")  # or sought, in generation


def named_ids(model: VisionEncoderDecoderModel) -> set[int]:
    """The ids of tokens that the configs name: the start, the end, padding and their like.

    One outside the vocabulary is left out: it is not in use.
    """
    rows = model.config.decoder.vocab_size
    fields = [pair for config in _configs(model) for pair in _fields(config).items()]
    values = (value for name, value in fields if name.endswith(NAMED))
    listed = (value if isinstance(value, tuple | list) else [value] for value in values)
    return {id for ids in listed for id in ids if type(id) is int and 0 <= id < rows}


def replace_tokens(model: VisionEncoderDecoderModel, sources: Sequence[int | None]) -> None:
    """Give a model another vocabulary: for each id the old one whose rows it takes, or None.

    New rows are drawn as new weights are. The ids that the configs name follow their tokens, and so
    do those that generation avoids, as far as they are still there.
    """
    check_no_adapters(model, "its vocabulary is changed")
    decoder = model.decoder
    ids = {old: new for new, old in reversed([*enumerate(sources)]) if old is not None}
    lost = sorted(named_ids(model) - {*ids})
    if lost:
        raise ConfigError(
            f"the configs name the token {lost[0]}, which the new vocabulary lacks; expected it "
            "among the sources"
        )
    pad = decoder.config.pad_token_id
    if decoder.counts_from_padding and ids.get(pad, pad) != pad:
        raise ConfigError(
            f"padding would move from the id {pad}, from which {decoder.config.model_type} counts "
            f"positions; expected a vocabulary of more than {pad} tokens"
        )
    model.take_rows(sources)
    model.has_other_tokens = True
    decoder.padding = None if decoder.padding is None else ids[decoder.padding]
    for config in _configs(model):
        for name, value in _fields(config).items():
            if name.endswith(NAMED) or name in AVOIDED:
                config.set(name, _moved(name, value, ids))
    model._disputes = tuple(
        Dispute(
            name,
            _moved(name, used, ids),
            {place: _moved(name, value, ids) for place, value in others.items()},
        )
        for name, used, others in model._disputes
    )


def _configs(model: VisionEncoderDecoderModel) -> tuple[Config, ...]:
    return model.config, model.config.decoder, model.generation_config


def _fields(config: Config) -> dict[str, Any]:
    """The fields of a config that are set, and its unknown keys."""
    values = {**config.extra, **vars(config)}
    return {name: value for name, value in values.items() if value is not None}


def _moved(name: str, value: Any, ids: Mapping[int, int]) -> Any:
    """The value of a field with the new ids; one that is not in use stays as it is."""
    if name in UNWANTED:
        return [ids[id] for id in value if id in ids]
    if name == "bad_words_ids":
        return [[ids[id] for id in word] for word in value if ids.keys() >= {*word}]
    if name == "sequence_bias":
        pairs = value.items() if isinstance(value, Mapping) else value
        return [[[ids[id] for id in word], x] for word, x in pairs if ids.keys() >= {*word}]
    if isinstance(value, tuple | list):
        return [_moved(name, id, ids) for id in value]
    return ids.get(value, value) if type(value) is int else value
