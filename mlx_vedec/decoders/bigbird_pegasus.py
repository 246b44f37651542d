"""BigBird-Pegasus (arXiv:2007.14062): BART normed first, with learned positions.

Its attention is full, block-sparse in the encoder alone, which is not built here, and by default
without biases. transformers 5.24 does not tie its head: where a file has none, as those of version
4, it is left random there, and is the embedding here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import mlx.nn as nn

from ..checkpoints.renames import Renames
from ..layers.attention import Attention, AttentionCore
from .bart import BartConfig, BartForCausalLM, bart_renames
from .layer import DecoderLayer
from .seq2seq import LEARNED, Normed


@dataclass(kw_only=True)
class BigBirdPegasusConfig(BartConfig):
    """Fields and defaults of `google/bigbird-pegasus-large-arxiv`'s decoder.

    use_bias -- of all projections of the attention
    """

    model_type: ClassVar[str] = "bigbird_pegasus"
    aliases: ClassVar[dict[str, str]] = {
        **BartConfig.aliases,
        "attention_probs_dropout_prob": "attention_dropout",
    }
    norm_first: ClassVar[bool] = True
    embed_norm: ClassVar[Normed] = None
    offset: ClassVar[int] = 0
    vocab_size: int = 96103
    max_position_embeddings: int = 4096
    decoder_layers: int = 16
    activation_function: str = "gelu_new"
    scale_embedding: bool = True
    pad_token_id: int | None = 0
    bos_token_id: int | None = 2
    eos_token_id: int | tuple[int, ...] | None = 1
    decoder_start_token_id: int | None = 2
    use_bias: bool = False


class BigBirdPegasusForCausalLM(BartForCausalLM):
    """`BartForCausalLM` that norms first and whose attention has no biases."""

    config_class = BigBirdPegasusConfig

    def make_layer(self) -> DecoderLayer:
        """A layer with or without biases of its attention."""
        config, layer = self.config, super().make_layer()
        assert isinstance(config, BigBirdPegasusConfig)
        if not config.use_bias:
            layer.self_attn = self._unbiased(None)
            layer.cross_attn = self._unbiased(self.shape.memory_dims)
        return layer

    def _unbiased(self, memory_dims: int | None) -> AttentionCore:
        shape = self.shape
        attention = Attention(
            shape.dims,
            shape.num_heads,
            memory_dims=memory_dims,
            bias=False,
            dropout=shape.attention_dropout,
        )
        attention.o_proj = nn.Linear(shape.dims, shape.dims, bias=False)
        return attention


# their final norm has the name that the embedding's has in BART
BigBirdPegasusForCausalLM.renames = bart_renames(
    (*LEARNED, ("layernorm_embedding", "norm"))
) + Renames(pairs=(), doubled=("lm_head.weight",))
