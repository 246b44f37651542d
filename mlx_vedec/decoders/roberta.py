"""RoBERTa (arXiv:1907.11692): BERT whose positions are counted over tokens that are not padding.

XLM-RoBERTa (arXiv:1911.02116), CamemBERT (arXiv:1911.03894) and data2vec (arXiv:2202.03555) are its
twins under other names; RoBERTa-PreLayerNorm (arXiv:2202.08005) moves the norms before each part,
and XLM-RoBERTa-XL (arXiv:2105.00572) leaves out the embedding's norm too.
The head's activation is exact GELU, whatever the config says of the layers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import mlx.core as mx
import mlx.nn as nn

from ..checkpoints.renames import Pairs, Renames
from ..layers.token_ids import check_ids
from .bert import TYPED_BODY, BertConfig, body_renames
from .masked import TIED_BIAS, MaskedDecoder, MaskedShape
from .positions import LearnedPositions


@dataclass(kw_only=True)
class RobertaConfig(BertConfig):
    """Fields and defaults of `FacebookAI/roberta-base`, but for its 514 positions."""

    model_type: ClassVar[str] = "roberta"
    vocab_size: int = 50265
    pad_token_id: int | None = 1
    bos_token_id: int | None = 0
    eos_token_id: int | tuple[int, ...] | None = 2

    def check(self) -> None:
        """Raise `ConfigError` unless positions are left after the row of padding."""
        super().check()
        expected = f"expected 0 to {self.max_position_embeddings - 2}, as positions follow it"
        fits = 0 < self.first_position < self.max_position_embeddings
        self.require(fits, "pad_token_id", expected)

    @property
    def first_position(self) -> int:
        """Row of the first token in the position table, the one after padding's."""
        return 0 if self.pad_token_id is None else self.pad_token_id + 1

    @property
    def shape(self) -> MaskedShape:
        """BERT's, with fewer positions and another activation in the head."""
        positions = self.max_position_embeddings - self.first_position
        return replace(super().shape, positions=positions, head_act="gelu")


@dataclass(kw_only=True)
class XLMRobertaConfig(RobertaConfig):
    """Fields and defaults of transformers, whose vocabulary is BERT's."""

    model_type: ClassVar[str] = "xlm-roberta"
    vocab_size: int = 30522


@dataclass(kw_only=True)
class CamembertConfig(XLMRobertaConfig):
    """Fields and defaults of transformers, whose vocabulary is BERT's."""

    model_type: ClassVar[str] = "camembert"


@dataclass(kw_only=True)
class Data2VecTextConfig(XLMRobertaConfig):
    """Fields and defaults of transformers, whose vocabulary is BERT's."""

    model_type: ClassVar[str] = "data2vec-text"


@dataclass(kw_only=True)
class RobertaPreLayerNormConfig(RobertaConfig):
    """Fields and defaults of `andreasmadsen/efficient_mlm_m0.40`, but for its 514 positions."""

    model_type: ClassVar[str] = "roberta-prelayernorm"
    norm_first: ClassVar[bool] = True


@dataclass(kw_only=True)
class XLMRobertaXLConfig(RobertaConfig):
    """Fields and defaults of `facebook/xlm-roberta-xl`."""

    model_type: ClassVar[str] = "xlm-roberta-xl"
    norm_first: ClassVar[bool] = True
    vocab_size: int = 250880
    hidden_size: int = 2560
    num_hidden_layers: int = 36
    num_attention_heads: int = 32
    intermediate_size: int = 10240
    max_position_embeddings: int = 514
    type_vocab_size: int = 1
    layer_norm_eps: float = 1e-5


class PaddedPositions(LearnedPositions):
    """A table in which padding has the row of its own id, and the first token the next one."""

    def __init__(self, count: int, dims: int, padding: int) -> None:
        super().__init__(count, dims, offset=padding + 1)
        self.padding = padding

    def __call__(self, positions: mx.array, tokens: mx.array | None = None) -> mx.array:
        """Positions (B, L) to (B, L, D).

        Padding among the tokens (B, L) is not counted; tokens in the cache all are.
        """
        if tokens is None:
            return super().__call__(positions)
        real = (tokens != self.padding).astype(mx.int32)
        counted = positions[:, :1] + mx.cumsum(real, axis=1)
        return self._rows(self.padding + counted * real)

    def numbered(self, position_ids: mx.array) -> mx.array:
        """Rows (B, L) of the table, which transformers calls positions, to (B, L, D)."""
        check_ids(position_ids, len(self.weight), "position_ids")
        return self._rows(position_ids)

    def _rows(self, numbers: mx.array) -> mx.array:
        """The rows with these numbers; that of padding gets no gradient, as in torch."""
        rows = nn.Embedding.__call__(self, numbers)
        return mx.where((numbers == self.padding)[..., None], mx.stop_gradient(rows), rows)


class RobertaForCausalLM(MaskedDecoder[RobertaConfig]):
    """RoBERTa's decoder."""

    config_class = RobertaConfig
    base_model_prefix = "roberta"
    counts_from_padding = True

    def __init__(self, config: RobertaConfig) -> None:
        super().__init__(config)
        self.embed_positions.weight[config.first_position - 1] = 0

    def make_positions(self) -> LearnedPositions:
        """A table whose rows up to that of padding belong to no position."""
        shape, padding = self.config.shape, self.config.first_position - 1
        return PaddedPositions(shape.positions, shape.embed_dims, padding)


class XLMRobertaForCausalLM(RobertaForCausalLM):
    """XLM-RoBERTa's decoder, under RoBERTa's names."""

    config_class = XLMRobertaConfig


class CamembertForCausalLM(RobertaForCausalLM):
    """CamemBERT's decoder, under RoBERTa's names."""

    config_class = CamembertConfig


class Data2VecTextForCausalLM(RobertaForCausalLM):
    """The decoder of data2vec for text."""

    config_class = Data2VecTextConfig
    base_model_prefix = "data2vec_text"


class RobertaPreLayerNormForCausalLM(RobertaForCausalLM):
    """`RobertaForCausalLM` with its norms before each part, and one after the last layer."""

    config_class = RobertaPreLayerNormConfig
    base_model_prefix = "roberta_prelayernorm"


class XLMRobertaXLForCausalLM(RobertaForCausalLM):
    """`RobertaPreLayerNormForCausalLM` without a norm of the embedding, under other names."""

    config_class = XLMRobertaXLConfig

    def __init__(self, config: XLMRobertaXLConfig) -> None:
        super().__init__(config)
        self.embed_norm = nn.Identity()


def roberta_renames(base: str, body: Pairs = TYPED_BODY) -> Renames:
    """The names of a model with RoBERTa's head."""
    return body_renames(base, body) + Renames(
        pairs=(
            ("lm_head.dense", "head_proj"),
            ("lm_head.layer_norm", "head_norm"),
            ("lm_head.decoder", "lm_head"),
            ("lm_head.bias", "head_bias"),
        ),
        carried=("lm_head.bias",),
        tied=TIED_BIAS,
    )


PRE_NORMED = {
    "encoder.layer.*.attention.output.LayerNorm": "encoder.layer.*.attention.LayerNorm",
    "encoder.layer.*.crossattention.output.LayerNorm": "encoder.layer.*.crossattention.LayerNorm",
    "encoder.layer.*.output.LayerNorm": "encoder.layer.*.intermediate.LayerNorm",
}
PRE_NORMED_BODY: Pairs = (
    *((PRE_NORMED.get(disk, disk), ours) for disk, ours in TYPED_BODY),
    ("LayerNorm", "norm"),
)
XL_NORMS = {
    "encoder.layer.*.attention.output.LayerNorm": "encoder.layer.*.attention.self_attn_layer_norm",
    "encoder.layer.*.crossattention.output.LayerNorm": (
        "encoder.layer.*.crossattention.self_attn_layer_norm"
    ),
    "encoder.layer.*.output.LayerNorm": "encoder.layer.*.LayerNorm",
    "embeddings.LayerNorm": "encoder.LayerNorm",
}
XL_BODY: Pairs = tuple(
    (XL_NORMS.get(disk, disk), "norm" if ours == "embed_norm" else ours)
    for disk, ours in TYPED_BODY
)

RobertaForCausalLM.renames = roberta_renames("roberta")
Data2VecTextForCausalLM.renames = roberta_renames("data2vec_text")
RobertaPreLayerNormForCausalLM.renames = roberta_renames("roberta_prelayernorm", PRE_NORMED_BODY)
XLMRobertaXLForCausalLM.renames = roberta_renames("roberta", XL_BODY)
