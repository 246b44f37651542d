"""The image halves of CLIP (arXiv:2103.00020) and SigLIP (arXiv:2303.15343).

CLIP norms its embeddings before the first layer and, unlike a ViT, leaves the last layer's output
as it is; SigLIP has no class token and norms the output. What pools their features is not used.
Chinese-CLIP (arXiv:2211.01335) is CLIP's architecture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import mlx.core as mx
import mlx.nn as nn

from ..checkpoints.renames import Pairs, Renames
from ..layers.attention import Attention
from ..layers.initialisers import initialise
from ..layers.mlp import MLP
from ..layers.outputs import Trace
from .encoder import Encoder, PatchConfig, Size
from .patches import PatchEmbedding, after_prefix, pair
from .plain import PlainLayer


@dataclass(kw_only=True)
class VisionConfig(PatchConfig):
    """What the configs of CLIP and SigLIP have in common; a size is one number or two, (h, w).

    class_token -- whether one comes before the patches; patch_bias -- of their linear map;
    position_table -- whether positions are learned, and added to the patches
    """

    square_only: ClassVar[bool] = True
    class_token: ClassVar[bool]
    patch_bias: ClassVar[bool]
    position_table: ClassVar[bool] = True
    intermediate_size: int = 3072
    layer_norm_eps: float = 1e-12
    attention_dropout: float = 0.0


@dataclass(kw_only=True)
class CLIPVisionConfig(VisionConfig):
    """Fields and defaults of `openai/clip-vit-base-patch32`."""

    model_type: ClassVar[str] = "clip_vision_model"
    class_token: ClassVar[bool] = True
    patch_bias: ClassVar[bool] = False
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    patch_size: Size = 32
    initializer_range: float = 0.02
    initializer_factor: float = 1.0


@dataclass(kw_only=True)
class ChineseCLIPVisionConfig(CLIPVisionConfig):
    """`CLIPVisionConfig` for the image half of `OFA-Sys/chinese-clip-vit-base-patch16`."""

    model_type: ClassVar[str] = "chinese_clip_vision_model"


@dataclass(kw_only=True)
class SiglipVisionConfig(VisionConfig):
    """Fields and defaults of `google/siglip-base-patch16-224`."""

    model_type: ClassVar[str] = "siglip_vision_model"
    class_token: ClassVar[bool] = False
    patch_bias: ClassVar[bool] = True
    hidden_act: str = "gelu_pytorch_tanh"
    layer_norm_eps: float = 1e-6
    patch_size: Size = 16


class VisionModel(Encoder[VisionConfig]):
    """Patches, learned positions, layers, norm if any: what CLIP and SigLIP have in common."""

    norm: nn.LayerNorm

    def __init__(self, config: VisionConfig) -> None:
        super().__init__(config)
        dims, (rows, columns) = config.hidden_size, config.grid
        self.patches = PatchEmbedding(
            config.num_channels, dims, pair(config.patch_size), bias=config.patch_bias
        )
        if config.position_table:
            self.position_embeddings = mx.zeros((config.class_token + rows * columns, dims))
        self.layers = [self.make_layer() for _ in range(config.num_hidden_layers)]

    def make_layer(self) -> PlainLayer:
        """One of the layers, which are all alike."""
        config, dims = self.config, self.config.hidden_size
        attn = Attention(dims, config.num_attention_heads, dropout=config.attention_dropout)
        mlp = MLP(dims, config.intermediate_size, config.hidden_act)
        return PlainLayer(dims, attn, mlp, eps=config.layer_norm_eps)

    def features(self, pixels: mx.array, interpolate: bool, trace: Trace) -> mx.array:
        """Pixels (B, H, W, C) to features (B, S, D), the class token first where there is one."""
        x = self.through_layers(self._embed(pixels, interpolate), trace)
        return self.norm(x) if "norm" in self else x

    def _embed(self, pixels: mx.array, interpolate: bool) -> mx.array:
        """Patches (B, N, D) with their positions."""
        patches, grid = self.patches(pixels, self.fixed_size(pixels, interpolate))
        return patches + self.positions_of(grid)[self.prefix_tokens :]


class CLIPVisionModel(VisionModel):
    """`VisionModel` with a class token, normed before the first layer and not after the last."""

    config_class = CLIPVisionConfig
    base_model_prefix = "vision_model"

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__(config)
        self.cls_token = mx.zeros((config.hidden_size,))
        self.pre_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self._initialise(config)

    def unread(self) -> dict[str, mx.array]:
        """The norm of the class token, which is pooled."""
        ones, zeros = mx.ones(self.config.hidden_size), mx.zeros(self.config.hidden_size)
        return {"post_layernorm.weight": ones, "post_layernorm.bias": zeros}

    def _embed(self, pixels: mx.array, interpolate: bool) -> mx.array:
        patches = super()._embed(pixels, interpolate)
        token = self.cls_token + self.position_embeddings[:1]
        return self.pre_norm(after_prefix(token[None], patches))

    def _initialise(self, config: CLIPVisionConfig) -> None:
        """Deviations by width and, for what adds to the residual stream, by depth."""
        factor, dims = config.initializer_factor, config.hidden_size
        wide = factor * dims**-0.5
        deep = wide * (2 * config.num_hidden_layers) ** -0.5
        std = factor * config.initializer_range
        self.cls_token = mx.random.normal(self.cls_token.shape, scale=wide)
        if "position_embeddings" in self:
            self.position_embeddings = mx.random.normal(self.position_embeddings.shape, scale=std)
        initialise(self.patches.projection, std)
        for layer in self.layers:
            attn, mlp = layer.attn, layer.mlp
            for projection in (attn.q_proj, attn.k_proj, attn.v_proj, mlp.fc2):
                initialise(projection, deep)
            initialise(attn.o_proj, wide)
            initialise(mlp.fc1, factor * (2 * dims) ** -0.5)


class ChineseCLIPVisionModel(CLIPVisionModel):
    """`CLIPVisionModel` under Chinese-CLIP's model type."""

    config_class = ChineseCLIPVisionConfig


class SiglipVisionModel(VisionModel):
    """`VisionModel` without a class token, normed after the last layer."""

    config_class = SiglipVisionConfig
    base_model_prefix = "vision_model"

    def __init__(self, config: SiglipVisionConfig) -> None:
        super().__init__(config)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self._initialise(config)

    def unread(self) -> dict[str, mx.array]:
        """The head, a layer that pools by attention."""
        if not getattr(self.config, "vision_use_head", True):
            return {}
        dims, hidden = self.config.hidden_size, self.config.intermediate_size
        shapes = {
            "probe": (1, 1, dims),
            "attention.in_proj_weight": (3 * dims, dims),
            "attention.in_proj_bias": (3 * dims,),
            "attention.out_proj.weight": (dims, dims),
            "attention.out_proj.bias": (dims,),
            "layernorm.weight": (dims,),
            "layernorm.bias": (dims,),
            "mlp.fc1.weight": (hidden, dims),
            "mlp.fc1.bias": (hidden,),
            "mlp.fc2.weight": (dims, hidden),
            "mlp.fc2.bias": (dims,),
        }
        return {f"head.{name}": mx.zeros(shape) for name, shape in shapes.items()}

    def _initialise(self, config: SiglipVisionConfig) -> None:
        """Flax's initialisers: Glorot's uniform one in the layers, LeCun's for the patches."""
        shape, std = self.position_embeddings.shape, config.hidden_size**-0.5
        self.position_embeddings = mx.random.normal(shape, scale=std)
        inputs = math.prod(self.patches.projection.weight.shape[1:])
        # the factor makes up for a cut at two deviations, which transformers then leaves out
        initialise(self.patches.projection, inputs**-0.5 / 0.87962566103423978)
        for layer in self.layers:
            attn, mlp = layer.attn, layer.mlp
            for linear in (attn.q_proj, attn.k_proj, attn.v_proj, attn.o_proj, mlp.fc1, mlp.fc2):
                bound = math.sqrt(6 / sum(linear.weight.shape))
                linear.weight = mx.random.uniform(-bound, bound, linear.weight.shape)
                linear.bias = mx.zeros_like(linear.bias)
            for linear in (mlp.fc1, mlp.fc2):
                linear.bias = mx.random.normal(linear.bias.shape, scale=1e-6)


def clip_names(own: Pairs, unused: str) -> Renames:
    """The names of CLIP and its relatives; before transformers 5 they begin with `vision_model.`.

    own -- the names that not all of them have; unused -- on disk, what pools its features
    """
    pairs = (
        ("embeddings.patch_embedding", "patches.projection"),
        ("encoder.layers.*.layer_norm1", "layers.*.attn_norm"),
        ("encoder.layers.*.self_attn.q_proj", "layers.*.attn.q_proj"),
        ("encoder.layers.*.self_attn.k_proj", "layers.*.attn.k_proj"),
        ("encoder.layers.*.self_attn.v_proj", "layers.*.attn.v_proj"),
        ("encoder.layers.*.self_attn.out_proj", "layers.*.attn.o_proj"),
        ("encoder.layers.*.layer_norm2", "layers.*.mlp_norm"),
        ("encoder.layers.*.mlp", "layers.*.mlp"),
        *own,
    )
    return Renames(
        pairs,
        aliases=tuple((f"vision_model.{disk}", ours) for disk, ours in pairs),
        carried=(unused, f"vision_model.{unused}"),
        ignored=("vision_model.embeddings.position_ids",),
    )


TABLE = ("embeddings.position_embedding.weight", "position_embeddings")
BEGINNING = (
    ("embeddings.class_embedding", "cls_token"),
    ("pre_layrnorm", "pre_norm"),  # the name has no "e" on disk
)
CLIPVisionModel.renames = clip_names((TABLE, *BEGINNING), unused="post_layernorm")
SiglipVisionModel.renames = clip_names((TABLE, ("post_layernorm", "norm")), unused="head")
