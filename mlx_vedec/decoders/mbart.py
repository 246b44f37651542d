"""BART's kin that move or drop its norms, or change its positions.

=============== =========== ================ ================= ==========
                layers norm embedding's norm positions         arXiv
=============== =========== ================ ================= ==========
MBart           before      of the sum       learned, offset 2 2001.08210
Blenderbot      before      none             learned           2004.13637
BlenderbotSmall after       of the tokens    learned           2004.13637
Pegasus         before      none             sines             1912.08777
Marian          after       none             sines             1804.00344
=============== =========== ================ ================= ==========
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ..checkpoints.renames import Renames
from .bart import BartConfig, BartForCausalLM, bart_renames
from .seq2seq import EMBED_NORM, FINAL_NORM, LEARNED, Normed


@dataclass(kw_only=True)
class MBartConfig(BartConfig):
    """Fields and defaults of `facebook/mbart-large-cc25`'s decoder."""

    model_type: ClassVar[str] = "mbart"
    norm_first: ClassVar[bool] = True
    decoder_start_token_id: int | None = None


@dataclass(kw_only=True)
class BlenderbotConfig(BartConfig):
    """Fields and defaults of `facebook/blenderbot-3B`'s decoder."""

    model_type: ClassVar[str] = "blenderbot"
    norm_first: ClassVar[bool] = True
    embed_norm: ClassVar[Normed] = None
    offset: ClassVar[int] = 0
    vocab_size: int = 8008
    d_model: int = 2560
    decoder_layers: int = 24
    decoder_attention_heads: int = 32
    decoder_ffn_dim: int = 10240
    max_position_embeddings: int = 128
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    decoder_start_token_id: int | None = 1


@dataclass(kw_only=True)
class BlenderbotSmallConfig(BartConfig):
    """Fields and defaults of `facebook/blenderbot_small-90M`'s decoder."""

    model_type: ClassVar[str] = "blenderbot-small"
    embed_norm: ClassVar[Normed] = "tokens"
    scale_given: ClassVar[bool] = True
    offset: ClassVar[int] = 0
    d_model: int = 512
    decoder_layers: int = 8
    decoder_ffn_dim: int = 2048
    max_position_embeddings: int = 512
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    decoder_start_token_id: int | None = 1


@dataclass(kw_only=True)
class PegasusConfig(BartConfig):
    """Fields and defaults of `google/pegasus-large`'s decoder."""

    model_type: ClassVar[str] = "pegasus"
    norm_first: ClassVar[bool] = True
    embed_norm: ClassVar[Normed] = None
    scale_given: ClassVar[bool] = True
    sinusoidal: ClassVar[bool] = True
    pad_token_id: int | None = 0
    bos_token_id: int | None = None
    eos_token_id: int | tuple[int, ...] | None = 1
    decoder_start_token_id: int | None = 0


@dataclass(kw_only=True)
class MarianConfig(BartConfig):
    """Fields and defaults of `Helsinki-NLP/opus-mt-en-de`'s decoder."""

    model_type: ClassVar[str] = "marian"
    aliases: ClassVar[dict[str, str]] = {**BartConfig.aliases, "decoder_vocab_size": "vocab_size"}
    embed_norm: ClassVar[Normed] = None
    scale_given: ClassVar[bool] = True
    sinusoidal: ClassVar[bool] = True
    vocab_size: int = 58101
    pad_token_id: int | None = 58100
    bos_token_id: int | None = None
    eos_token_id: int | tuple[int, ...] | None = 0
    decoder_start_token_id: int | None = 58100

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MarianConfig:
        """Build from a parsed `config.json`, whose `vocab_size` may be the encoder's alone."""
        own = {key: value for key, value in values.items() if key != "decoder_vocab_size"}
        if values.get("decoder_vocab_size") is not None:
            own["vocab_size"] = values["decoder_vocab_size"]
        return super().from_dict(own)


class MBartForCausalLM(BartForCausalLM):
    """`BartForCausalLM` that norms first."""

    config_class = MBartConfig


class BlenderbotForCausalLM(BartForCausalLM):
    """`BartForCausalLM` that norms first, its embedding not at all."""

    config_class = BlenderbotConfig


class BlenderbotSmallForCausalLM(BartForCausalLM):
    """`BartForCausalLM` that norms tokens before it adds positions."""

    config_class = BlenderbotSmallConfig


class PegasusForCausalLM(BartForCausalLM):
    """`BartForCausalLM` that norms first, with sines for positions."""

    config_class = PegasusConfig


class MarianForCausalLM(BartForCausalLM):
    """`BartForCausalLM` that does not norm its embedding, with sines for positions."""

    config_class = MarianConfig


STORED = Renames(pairs=(), carried=("model.decoder.embed_positions",))  # sines, computed here
MBartForCausalLM.renames = bart_renames(LEARNED + EMBED_NORM + FINAL_NORM)
BlenderbotForCausalLM.renames = bart_renames(LEARNED + FINAL_NORM)
PegasusForCausalLM.renames = bart_renames(FINAL_NORM) + STORED
MarianForCausalLM.renames = bart_renames(()) + STORED
