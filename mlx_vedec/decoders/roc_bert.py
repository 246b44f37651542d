"""RoCBERT (ACL 2022): BERT whose embeddings are mixed with those of a character's shape and sound.

As in transformers, where nothing says which shape and sound the tokens have, as nothing does in a
decoder of images, each has the first one's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import mlx.core as mx
import mlx.nn as nn

from ..checkpoints.renames import Pairs, Renames
from ..layers.initialisers import initialise
from .bert import TYPED_BODY, BertConfig, bert_renames
from .masked import MaskedDecoder


@dataclass(kw_only=True)
class RoCBertConfig(BertConfig):
    """Fields and defaults of `weiweishi/roc-bert-base-zh`, but for its vocabulary.

    enable_shape, enable_pronunciation -- which tables there are
    concat_input -- mix a token's rows of all tables; without it the other two are not read
    """

    model_type: ClassVar[str] = "roc_bert"
    enable_pronunciation: bool = True
    enable_shape: bool = True
    pronunciation_embed_dim: int = 768
    pronunciation_vocab_size: int = 910
    shape_embed_dim: int = 512
    shape_vocab_size: int = 24858
    concat_input: bool = True

    def check(self) -> None:
        """Raise `ConfigError` unless padding has a row in every table."""
        super().check()
        for name in ("shape_vocab_size", "pronunciation_vocab_size"):
            has_row = self.pad_token_id is None or self.pad_token_id < getattr(self, name)
            self.require(has_row, name, f"expected more than pad_token_id, {self.pad_token_id}")


class RoCBertForCausalLM(MaskedDecoder[RoCBertConfig]):
    """RoCBERT's decoder."""

    config_class = RoCBertConfig
    base_model_prefix = "roc_bert"

    def __init__(self, config: RoCBertConfig) -> None:
        super().__init__(config)
        if not config.concat_input:
            return
        width = config.hidden_size
        if config.enable_shape:
            width += config.shape_embed_dim
            self.embed_shape = self._table(config.shape_vocab_size, config.shape_embed_dim)
        if config.enable_pronunciation:
            width += config.pronunciation_embed_dim
            self.embed_sound = self._table(
                config.pronunciation_vocab_size, config.pronunciation_embed_dim
            )
        self.embed_mix = nn.Linear(width, config.hidden_size)
        initialise(self.embed_mix, config.initializer_range)

    def _table(self, rows: int, width: int) -> nn.Embedding:
        table = nn.Embedding(rows, width)
        initialise(table, self.config.initializer_range)
        if self.config.pad_token_id is not None:
            table.weight[self.config.pad_token_id] = 0
        return table

    def _placed(self, x: mx.array, places: mx.array) -> mx.array:
        if "embed_mix" in self:
            first = mx.zeros(x.shape[:2], mx.int32)
            rows = [self[name](first) for name in ("embed_shape", "embed_sound") if name in self]
            if self.config.pad_token_id == 0:  # whose row torch does not train
                rows = [mx.stop_gradient(row) for row in rows]
            x = self.embed_mix(mx.concatenate([x, *rows], axis=-1))
        return super()._placed(x, places)


MIXED: Pairs = (
    ("embeddings.shape_embed", "embed_shape"),
    ("embeddings.pronunciation_embed", "embed_sound"),
    ("embeddings.map_inputs_layer", "embed_mix"),
)
RoCBertForCausalLM.renames = bert_renames("roc_bert", TYPED_BODY + MIXED) + Renames(
    pairs=(),
    carried=tuple(f"roc_bert.{disk}" for disk, _ in MIXED[:2]),  # where they are not read
)
