"""ELECTRA (arXiv:2003.10555), its generator: BERT whose embeddings and head are narrower.

A projection follows the embeddings. The head's activation is exact GELU, its matrix is tied to the
embedding, and its bias is stored once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from ..checkpoints.renames import Renames
from .bert import TYPED_BODY, BertConfig, body_renames
from .masked import TIED, MaskedDecoder, MaskedShape


@dataclass(kw_only=True)
class ElectraConfig(BertConfig):
    """Fields and defaults of transformers, the size that the paper calls small."""

    model_type: ClassVar[str] = "electra"
    embedding_size: int = 128
    hidden_size: int = 256
    num_attention_heads: int = 4
    intermediate_size: int = 1024

    @property
    def shape(self) -> MaskedShape:
        """BERT's, with another width of the embeddings and activation of the head."""
        return replace(super().shape, embed_dims=self.embedding_size, head_act="gelu")


class ElectraForCausalLM(MaskedDecoder[ElectraConfig]):
    """ELECTRA's generator as a decoder."""

    config_class = ElectraConfig
    base_model_prefix = "electra"
    head_has_bias = False


PROJECTED_BODY = (*TYPED_BODY, ("embeddings_project", "embed_proj"))
ElectraForCausalLM.renames = body_renames("electra", PROJECTED_BODY) + Renames(
    pairs=(
        ("generator_predictions.dense", "head_proj"),
        ("generator_predictions.LayerNorm", "head_norm"),
        ("generator_lm_head.bias", "head_bias"),
        ("generator_lm_head", "lm_head"),
    ),
    tied=TIED,
)
