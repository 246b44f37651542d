"""X-MOD (arXiv:2205.06266): RoBERTa with a small MLP per language at the end of each layer.

A decoder writes one language, the config's, so that the adapters of the others are kept unread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import mlx.core as mx
import mlx.nn as nn

from ..checkpoints.renames import Renames
from ..errors import ConfigError
from ..layers.mlp import MLP
from .layer import DecoderLayer
from .roberta import RobertaConfig, RobertaForCausalLM, roberta_renames


@dataclass(kw_only=True)
class XmodConfig(RobertaConfig):
    """Fields and defaults of transformers, whose vocabulary is BERT's.

    adapter_reduction_factor -- how many times narrower than a layer its adapter is
    adapter_layer_norm       -- a norm of its own before the adapter; where there is none,
    adapter_reuse_layer_norm -- the norm of the MLP before it
    ln_before_adapter        -- what is added to the adapter's output is normed too
    default_language         -- the one that is written; needed where there are several
    """

    model_type: ClassVar[str] = "xmod"
    vocab_size: int = 30522
    pre_norm: bool = False
    adapter_reduction_factor: int = 2
    adapter_layer_norm: bool = False
    adapter_reuse_layer_norm: bool = True
    ln_before_adapter: bool = True
    languages: tuple[str, ...] = ("en_XX",)
    default_language: str | None = None

    def check(self) -> None:
        """Raise `ConfigError` for a language without an adapter, or adapters of no width."""
        super().check()
        known = self.default_language is None or self.default_language in self.languages
        self.require(known, "default_language", self._expected)
        expected = f"expected 1 to hidden_size, {self.hidden_size}"
        fits = self.adapter_reduction_factor <= self.hidden_size
        self.require(fits, "adapter_reduction_factor", expected)

    @property
    def norm_first(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether each part is normed before it, not after."""
        return self.pre_norm

    @property
    def language(self) -> str:
        """The language whose adapters are computed with."""
        if self.default_language is None and len(self.languages) != 1:
            expected = f"{self._expected}: the one that the decoder is to write, set in its config"
            raise ConfigError(self._message("default_language", None, expected))
        return self.default_language or self.languages[0]

    @property
    def _expected(self) -> str:
        more = f" and {len(self.languages) - 8} more" if len(self.languages) > 8 else ""
        return f"expected one of languages, {', '.join(self.languages[:8])}{more}"


class XmodLayer(DecoderLayer):
    """The layer of all decoders with an adapter after the MLP, before the norm if that is last."""

    def __init__(self, config: XmodConfig) -> None:
        super().__init__(config.shape)
        width = config.hidden_size
        self.adds_normed = config.ln_before_adapter
        self.reuses_norm = config.adapter_reuse_layer_norm
        if config.adapter_layer_norm:
            self.adapter_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.adapter = MLP(width, width // config.adapter_reduction_factor, config.hidden_act)

    def _after(self, norm: nn.Module, x: mx.array) -> mx.array:
        return super()._after(norm, self._adapt(x) if norm is self.mlp_norm else x)

    def _adapt(self, x: mx.array) -> mx.array:
        normed = x
        if "adapter_norm" in self:
            normed = self.adapter_norm(x)
        elif self.reuses_norm:
            normed = self.mlp_norm(x)
        return self.dropout(self.adapter(normed)) + (normed if self.adds_normed else x)


class XmodForCausalLM(RobertaForCausalLM):
    """X-MOD's decoder, which writes the default language."""

    config_class = XmodConfig

    def __init__(self, config: XmodConfig) -> None:
        super().__init__(config)
        own, adapters = config.language, f"{LAYER}.adapter_modules"
        self.renames = self.renames + Renames(  # pyright: ignore[reportAttributeAccessIssue]
            pairs=(
                (f"{adapters}.{own}.dense1", "layers.*.adapter.fc1"),
                (f"{adapters}.{own}.dense2", "layers.*.adapter.fc2"),
            ),
            carried=tuple(f"{adapters}.{name}" for name in config.languages if name != own),
        )

    def make_layer(self) -> DecoderLayer:
        """A layer with the adapter of one language."""
        assert isinstance(self.config, XmodConfig)
        return XmodLayer(self.config)


LAYER = "roberta.encoder.layer.*.output"
XmodForCausalLM.renames = roberta_renames("roberta") + Renames(
    pairs=(
        (f"{LAYER}.adapter_layer_norm", "layers.*.adapter_norm"),
        ("roberta.encoder.LayerNorm", "norm"),
    )
)
