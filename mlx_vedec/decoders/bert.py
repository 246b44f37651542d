"""BERT as a decoder (arXiv:1810.04805), and those that differ in the embedding and the head.

BERT adds the row of token type 0 to every token. BERT-generation (arXiv:1907.12461) has no types,
and a head that is one matrix with a bias. ERNIE (arXiv:1904.09223) may add the row of task 0 too
(arXiv:1907.12412). The generator of ELECTRA (arXiv:2003.10555) has a narrower embedding, which a
projection follows; its head's activation is exact GELU, its matrix is tied to the embedding, and
its bias is stored once. RemBERT (arXiv:2010.12821) has narrow embeddings too, which a projection
always follows, and a head that is wider than its layers: the two are never one matrix, whatever the
config says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import mlx.core as mx
import mlx.nn as nn

from ..checkpoints.renames import Pairs, Renames
from ..layers.initialisers import initialise
from ..layers.mlp import Activation
from .masked import TIED, TIED_BIAS, MaskedConfig, MaskedDecoder, MaskedShape


@dataclass(kw_only=True)
class BertBodyConfig(MaskedConfig):
    """Fields that all of BERT's kin but DistilBERT have under these names.

    norm_first -- norms before each part, and one after the last layer
    """

    norm_first: ClassVar[bool] = False
    width_and_heads: ClassVar[tuple[str, str]] = ("hidden_size", "num_attention_heads")
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    layer_norm_eps: float = 1e-12

    @property
    def shape(self) -> MaskedShape:
        """The fields under the names that the shared parts read."""
        return MaskedShape(
            dims=self.hidden_size,
            num_layers=self.num_hidden_layers,
            num_heads=self.num_attention_heads,
            mlp_dims=self.intermediate_size,
            act=self.hidden_act,
            positions=self.max_position_embeddings,
            memory_dims=self.hidden_size if self.add_cross_attention else None,
            eps=self.layer_norm_eps,
            norm_first=self.norm_first,
            dropout=self.hidden_dropout_prob,
            attention_dropout=self.attention_probs_dropout_prob,
            init_std=self.initializer_range,
            embed_dims=self.hidden_size,
        )


@dataclass(kw_only=True)
class BertConfig(BertBodyConfig):
    """Fields and defaults of `google-bert/bert-base-uncased`."""

    model_type: ClassVar[str] = "bert"
    type_vocab_size: int = 2

    @property
    def shape(self) -> MaskedShape:
        """`BertBodyConfig`'s, with token types, and a head with the activation of the layers."""
        return replace(super().shape, token_types=self.type_vocab_size, head_act=self.hidden_act)


@dataclass(kw_only=True)
class BertGenerationConfig(BertBodyConfig):
    """Fields and defaults of `google/bert_for_seq_generation_L-24_bbc_encoder`."""

    model_type: ClassVar[str] = "bert-generation"
    vocab_size: int = 50358
    hidden_size: int = 1024
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    intermediate_size: int = 4096
    bos_token_id: int | None = 2
    eos_token_id: int | tuple[int, ...] | None = 1


@dataclass(kw_only=True)
class ErnieConfig(BertConfig):
    """Fields and defaults of transformers, which are BERT's, and task types where `use_task_id`."""

    model_type: ClassVar[str] = "ernie"
    task_type_vocab_size: int = 3
    use_task_id: bool = False


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


@dataclass(kw_only=True)
class RemBertConfig(BertConfig):
    """Fields and defaults of `google/rembert`.

    input_embedding_size  -- width of the embeddings
    output_embedding_size -- width of what the head scores tokens by
    """

    model_type: ClassVar[str] = "rembert"
    vocab_size: int = 250300
    hidden_size: int = 1152
    num_hidden_layers: int = 32
    num_attention_heads: int = 18
    input_embedding_size: int = 256
    output_embedding_size: int = 1664
    intermediate_size: int = 4608
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    bos_token_id: int | None = 312
    eos_token_id: int | tuple[int, ...] | None = 313
    tie_word_embeddings: bool = False

    @property
    def shape(self) -> MaskedShape:
        """BERT's, with a width of its own for the embeddings."""
        return replace(super().shape, embed_dims=self.input_embedding_size)


class BertLMHeadModel(MaskedDecoder[BertConfig]):
    """BERT's decoder."""

    config_class = BertConfig
    base_model_prefix = "bert"


class BertGenerationDecoder(MaskedDecoder[BertGenerationConfig]):
    """BERT-generation's decoder."""

    config_class = BertGenerationConfig
    base_model_prefix = "bert"


class ErnieForCausalLM(MaskedDecoder[ErnieConfig]):
    """ERNIE's decoder: BERT's with, maybe, task types."""

    config_class = ErnieConfig
    base_model_prefix = "ernie"

    def __init__(self, config: ErnieConfig) -> None:
        super().__init__(config)
        if config.use_task_id:
            self.embed_tasks = nn.Embedding(config.task_type_vocab_size, config.hidden_size)
            initialise(self.embed_tasks, config.initializer_range)

    def _placed(self, x: mx.array, places: mx.array) -> mx.array:
        x = super()._placed(x, places)
        return x + self.embed_tasks(mx.zeros((1, 1), mx.int32)) if "embed_tasks" in self else x


class ElectraForCausalLM(MaskedDecoder[ElectraConfig]):
    """ELECTRA's generator as a decoder."""

    config_class = ElectraConfig
    base_model_prefix = "electra"
    head_has_bias = False


class RemBertForCausalLM(MaskedDecoder[RemBertConfig]):
    """RemBERT's decoder."""

    config_class = RemBertConfig
    base_model_prefix = "rembert"

    def _make_head(self, shape: MaskedShape) -> None:
        config, width = self.config, self.config.output_embedding_size
        self.embed_proj = nn.Linear(shape.embed_dims, shape.dims)  # where widths are equal too
        self.head_proj = nn.Linear(shape.dims, width)
        self.head_act = Activation(config.hidden_act)
        self.head_norm = nn.LayerNorm(width, eps=shape.eps)
        self.lm_head = nn.Linear(width, config.vocab_size)

    @property
    def ties_head(self) -> bool:
        """Never."""
        return False

    def untie(self) -> None:
        """Leave the head as it is, which has weights of its own."""


BODY: Pairs = (
    ("embeddings.word_embeddings", "embed_tokens"),
    ("embeddings.position_embeddings", "embed_positions"),
    ("embeddings.LayerNorm", "embed_norm"),
    ("encoder.layer.*.attention.self.query", "layers.*.self_attn.q_proj"),
    ("encoder.layer.*.attention.self.key", "layers.*.self_attn.k_proj"),
    ("encoder.layer.*.attention.self.value", "layers.*.self_attn.v_proj"),
    ("encoder.layer.*.attention.output.dense", "layers.*.self_attn.o_proj"),
    ("encoder.layer.*.attention.output.LayerNorm", "layers.*.self_attn_norm"),
    ("encoder.layer.*.crossattention.self.query", "layers.*.cross_attn.q_proj"),
    ("encoder.layer.*.crossattention.self.key", "layers.*.cross_attn.k_proj"),
    ("encoder.layer.*.crossattention.self.value", "layers.*.cross_attn.v_proj"),
    ("encoder.layer.*.crossattention.output.dense", "layers.*.cross_attn.o_proj"),
    ("encoder.layer.*.crossattention.output.LayerNorm", "layers.*.cross_attn_norm"),
    ("encoder.layer.*.intermediate.dense", "layers.*.mlp.fc1"),
    ("encoder.layer.*.output.dense", "layers.*.mlp.fc2"),
    ("encoder.layer.*.output.LayerNorm", "layers.*.mlp_norm"),
)
TYPED_BODY: Pairs = (*BODY, ("embeddings.token_type_embeddings", "embed_types"))


def body_renames(base: str, body: Pairs = TYPED_BODY) -> Renames:
    """The names of what stands before the head, in files of a model with one.

    base -- what transformers calls the part without a head
    """
    return Renames(
        pairs=tuple((f"{base}.{disk}", ours) for disk, ours in body),
        carried=(f"{base}.pooler",),
        ignored=(f"{base}.embeddings.position_ids", f"{base}.embeddings.token_type_ids"),
    )


def bert_renames(base: str, body: Pairs = TYPED_BODY) -> Renames:
    """The names of a model with BERT's head."""
    return body_renames(base, body) + Renames(
        pairs=(
            ("cls.predictions.transform.dense", "head_proj"),
            ("cls.predictions.transform.LayerNorm", "head_norm"),
            ("cls.predictions.decoder", "lm_head"),
            ("cls.predictions.bias", "head_bias"),
        ),
        carried=("cls.predictions.bias",),
        ignored=("cls.seq_relationship",),  # the head for next sentences, of pretraining
        tied=TIED_BIAS,
    )


TASKS: Pairs = (("embeddings.task_type_embeddings", "embed_tasks"),)
BertLMHeadModel.renames = bert_renames("bert")
ErnieForCausalLM.renames = bert_renames("ernie", TYPED_BODY + TASKS)
BertGenerationDecoder.renames = body_renames("bert", BODY) + Renames(
    pairs=(("lm_head.decoder", "lm_head"), ("lm_head.bias", "head_bias")),
    carried=("lm_head.bias",),
    tied=TIED_BIAS,
)
PROJECTED = (*TYPED_BODY, ("embeddings_project", "embed_proj"))
ElectraForCausalLM.renames = body_renames("electra", PROJECTED) + Renames(
    pairs=(
        ("generator_predictions.dense", "head_proj"),
        ("generator_predictions.LayerNorm", "head_norm"),
        ("generator_lm_head.bias", "head_bias"),
        ("generator_lm_head", "lm_head"),
    ),
    tied=TIED,
)
MAPPED = (*TYPED_BODY, ("encoder.embedding_hidden_mapping_in", "embed_proj"))
RemBertForCausalLM.renames = body_renames("rembert", MAPPED) + Renames(
    pairs=(
        ("cls.predictions.dense", "head_proj"),
        ("cls.predictions.LayerNorm", "head_norm"),
        ("cls.predictions.decoder", "lm_head"),
    ),
    ignored=("cls.seq_relationship",),
)
