"""The generation options of a checkpoint: a file that is read, edited and written back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checkpoints.config import Config, read_json
from ..files import write_json
from .options import OPTIONS

FILED = [name for name, option in OPTIONS.items() if option.value.in_files]

if TYPE_CHECKING:

    class _Settings(Config):
        def __init__(self, **options: Any) -> None: ...
        def __getattr__(self, name: str) -> Any: ...
else:
    _Settings = make_dataclass(
        "_Settings", [(name, Any, None) for name in FILED], bases=(Config,), kw_only=True
    )


class GenerationConfig(_Settings):
    """The options in force for a model; editable, checked when a generation starts.

    It has a field for every option that can stand in a file, of the names and meanings that
    transformers' class has: `Options` says what each does. None is "not set". Keys that are no
    options are kept.
    """

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
        values = {**decoder, **top}
        return cls.from_dict({name: values[name] for name in values if name in FILED})

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
