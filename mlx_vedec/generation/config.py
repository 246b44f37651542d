"""The generation options of a checkpoint: a file that is read, edited and written back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..checkpoints.config import Config, read_json
from ..files import write_json

Ids = int | tuple[int, ...] | None


@dataclass(kw_only=True)
class GenerationConfig(Config):
    """The options in force for a model; editable, checked when a generation starts.

    Names and meanings are those of transformers' class, `None` is "not set", and `Options` says
    what each does. Keys it does not know are kept.
    """

    max_length: int | None = None
    max_new_tokens: int | None = None
    min_length: int | None = None
    min_new_tokens: int | None = None
    max_time: float | None = None
    stop_strings: Any = None
    stop_on_repetition: Any = None
    do_sample: bool | None = None
    num_beams: int | None = None
    num_return_sequences: int | None = None
    early_stopping: bool | str | None = None
    length_penalty: float | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    epsilon_cutoff: float | None = None
    eta_cutoff: float | None = None
    renormalize_logits: bool | None = None
    remove_invalid_values: bool | None = None
    repetition_penalty: float | None = None
    no_repeat_ngram_size: int | None = None
    bad_words_ids: Any = None
    sequence_bias: Any = None
    suppress_tokens: Any = None
    begin_suppress_tokens: Any = None
    exponential_decay_length_penalty: Any = None
    decoder_start_token_id: Ids = None
    bos_token_id: int | None = None
    eos_token_id: Ids = None
    pad_token_id: int | None = None
    forced_bos_token_id: int | None = None
    forced_eos_token_id: Ids = None
    max_kv_size: int | None = None
    kv_bits: int | None = None
    kv_group_size: int | None = None

    @classmethod
    def from_folder(cls, folder: Path, config: Mapping[str, Any]) -> GenerationConfig:
        """From `generation_config.json`, the only file asked where there is one.

        A start token that it does not name comes from `config.json`, where transformers gives up.
        """
        legacy = cls.from_configs(config)
        path = folder / "generation_config.json"
        if not path.is_file():
            return legacy
        own = cls.from_dict(read_json(path))
        if own.decoder_start_token_id is None and own.bos_token_id is None:
            own.decoder_start_token_id = legacy.decoder_start_token_id
        return own

    @classmethod
    def from_configs(cls, config: Mapping[str, Any]) -> GenerationConfig:
        """From the top of a parsed `config.json`, then its decoder's part, as older versions saved.

        A decoder's `max_length: 20` is a default that was written out, not a choice.
        """
        top, decoder = _set(config), _set(config["decoder"])
        if decoder.get("max_length") == 20:
            del decoder["max_length"]
        known = {f.name for f in fields(cls)} - {"extra"}
        values = {**decoder, **top}
        return cls.from_dict({name: values[name] for name in values if name in known})

    def settings(self) -> dict[str, Any]:
        """Every option that is set, unknown ones included."""
        return _set(self.to_dict())

    def save(self, folder: Path) -> None:
        """Write `generation_config.json`, leaving out what is not set."""
        values = self.settings()
        if isinstance(values.get("sequence_bias"), Mapping):  # its keys are tuples: not for JSON
            values["sequence_bias"] = [[[*k], v] for k, v in values["sequence_bias"].items()]
        write_json(folder / "generation_config.json", values)


def _set(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
