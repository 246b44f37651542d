"""Which layers of a model get adapters, and which of its parameters are trained themselves."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

import mlx.nn as nn

from ..checkpoints.pretrained import Pretrained
from ..checkpoints.weights import parameters
from ..errors import OptionError, listed, nearest
from ..layers.packed import Quantized
from ..layers.quantization_recipes import (
    CROSS,
    HEAD,
    TABLE,
    Block,
    block_of,
    part_of,
    quantizable_layers,
)
from .config import FREEZABLE, KINDS, PARTS, LoraConfig

OF_KIND: dict[str, Callable[[set[str]], bool]] = {  # a layer, by the words of its path
    "attention": lambda names: bool(names & {"attn", "self_attn", "cross_attn"}),
    "cross": lambda names: bool(names & {*CROSS}),
    "mlp": lambda names: "mlp" in names,
    "all": lambda names: True,
}
HEADS = {HEAD, "head_bias", "head_norm", "head_proj"}
EMBEDDINGS = re.compile(r"(en|de)coder\.(embed_|patch|cls_|\w*(token|position_embedding)s?\b)")


@dataclass(frozen=True)
class Targets:
    """What a config chooses of a model, by path: layers for adapters, parameters to train."""

    layers: tuple[str, ...]
    trained: tuple[str, ...]


def targets_of(model: Pretrained, config: LoraConfig) -> Targets:
    """What the config chooses of a model, without what it freezes.

    Raises `OptionError` for all names at once that nothing of the model has.
    """
    found = _Search(model, config)
    found.check()
    trained = found.trained_modules()
    if config.fine_tune_type == "full":
        layers: set[str] = set()
        trained |= found.whole()
    else:
        layers = {path for path in found.layers() if f"{path}.weight" not in trained}
    if config.train_biases:
        trained |= {f"{path}.bias" for path in layers if f"{path}.bias" in found.parameters}
    if config.train_norms:
        trained |= found.norms(layers)
    frozen = found.frozen()
    layers = {path for path in layers if f"{path}.weight" not in frozen}
    trained -= frozen
    found.check_floats(trained)
    if not layers and not trained:
        but = f" that is not frozen by {', '.join(config.freeze)}" if frozen else ""
        raise OptionError(
            f"the targets {', '.join(config.targets)} choose nothing of this model{but}; widen them"
        )
    return Targets(tuple(sorted(layers)), tuple(sorted(trained)))


@dataclass(frozen=True)
class _Search:
    """A model's names, and the rules of `LoraConfig` over them."""

    model: Pretrained
    config: LoraConfig

    @cached_property
    def parameters(self) -> dict[str, tuple[str, ...]]:
        """Parameters by path, each with its names here and on disk."""
        renames = self.model.renames
        return {name: (name, renames.on_disk(name)) for name in parameters(self.model)}

    @cached_property
    def all_layers(self) -> dict[str, tuple[str, ...]]:
        """Layers that can have an adapter by path, each with its names here and on disk."""
        return {
            path: tuple(name.removesuffix(".weight") for name in self.parameters[f"{path}.weight"])
            for path in quantizable_layers(self.model)
        }

    @cached_property
    def blocks(self) -> set[Block]:
        """The last `num_layers` blocks of the encoder and of the decoder, or all."""
        stacks: dict[str, set[Block]] = {}
        for name in self.parameters:
            if block := block_of(name):
                stacks.setdefault(block[0], set()).add(block)
        count = self.config.num_layers
        first = 0 if count < 0 else -count
        return {block for stack in stacks.values() for block in sorted(stack)[first:]}

    def layers(self) -> set[str]:
        """The layers that get adapters."""
        chosen = {path for path in self.all_layers if self._preset(path) and self._is_near(path)}
        chosen |= {
            path
            for path, names in self.all_layers.items()
            if _matches(names, self.config.globs) and (self._is_near(path) or not block_of(path))
        }
        tables = {path for path in self.all_layers if path.endswith(TABLE)}
        return chosen | (tables if self.config.embeddings else set())

    def whole(self) -> set[str]:
        """What is trained where no adapters are: all of the parts, or of the layers named."""
        parts, kinds = self.config.presets
        layers = self.layers()
        chosen = {name for name in self.parameters if name.rpartition(".")[0] in layers}
        chosen |= self._of(self.config.globs)
        if "all" in kinds:
            chosen |= {n for n in self.parameters if part_of(n) in parts and self._is_near(n)}
        return chosen

    def norms(self, layers: Iterable[str]) -> set[str]:
        """Parameters of the norms in the parts and blocks that have adapters, or are trained."""
        parts = {part_of(path) for path in layers} or self.config.presets[0]
        return {
            name
            for name in self.parameters
            if name.rpartition(".")[0] in self._norms
            and part_of(name) in parts
            and self._is_near(name)
        }

    @cached_property
    def _norms(self) -> set[str]:
        """The norms by path."""
        kinds = nn.LayerNorm | nn.RMSNorm
        return {p for p, leaf in self.model.named_modules() if isinstance(leaf, kinds)}

    def trained_modules(self) -> set[str]:
        """Parameters of `train_modules`; an error where they are frozen as well."""
        chosen = self._of(self.config.train_modules)
        both = sorted(chosen & self.frozen())
        if both:
            raise OptionError(
                f"train_modules and freeze both name {listed(both, 4)}; leave it out of one (new "
                "tokens have the embedding and the head trained, whatever train_modules says)"
            )
        return chosen

    def frozen(self) -> set[str]:
        """Parameters that `freeze` keeps as they are."""
        return {path for name in self.config.freeze for path in self._frozen_by(name)}

    def _frozen_by(self, name: str) -> set[str]:
        """Parameters that a name of `FREEZABLE`, or a glob, keeps as they are."""
        if name not in FREEZABLE:
            return self._of((name,))
        if name in PARTS:
            return {path for path in self.parameters if part_of(path) == name}
        if name == "norms":
            return {path for path in self.parameters if path.rpartition(".")[0] in self._norms}
        if name == "embeddings":
            return {path for path in self.parameters if EMBEDDINGS.match(path)}
        known = OF_KIND.get(name, lambda words: bool(words & HEADS))  # which leaves the head
        return {path for path in self.parameters if known({*path.split(".")})}

    def _of(self, globs: tuple[str, ...]) -> set[str]:
        return {name for name, names in self.parameters.items() if _matches(names, globs)}

    def _preset(self, path: str) -> bool:
        """Whether presets choose a layer."""
        parts, kinds = self.config.presets
        words = {*path.split(".")}
        if words & {TABLE, HEAD} or part_of(path) not in parts:
            return False
        return any(OF_KIND[kind](words) for kind in kinds)

    def _is_near(self, name: str) -> bool:
        """Whether a parameter is in the last blocks; one in no block counts where all do."""
        block = block_of(name)
        return self.config.num_layers < 0 if block is None else block in self.blocks

    def check(self) -> None:
        """Raise `OptionError` for globs that match nothing, with the names that are closest."""
        full = self.config.fine_tune_type == "full"
        targets, modules = self.config.globs, self.config.train_modules
        unknown = [
            *(t for t in targets if not self._is_known(t, self.parameters if full else None)),
            *(t for t in modules if not self._is_known(t, self.parameters)),
        ]
        said = [self._unknown("target", name, (*PARTS, *KINDS)) for name in unknown]
        for name in self.config.freeze:
            if name in FREEZABLE and not self._frozen_by(name):
                said.append(f"freeze {name!r} is nothing that this model has of its own")
            elif not self._frozen_by(name):
                said.append(self._unknown("freeze", name, FREEZABLE))
        if said:
            raise OptionError("; ".join(said))

    def _is_known(self, glob: str, among: dict[str, tuple[str, ...]] | None) -> bool:
        return any(_matches(names, (glob,)) for names in (among or self.all_layers).values())

    def _unknown(self, option: str, name: str, presets: tuple[str, ...]) -> str:
        layers = [known for names in self.all_layers.values() for known in names]
        leaves = {known.rpartition(".")[2] for known in layers}
        known = [*presets, *sorted(leaves), *layers]
        hint = nearest(name, known, f"known are {listed([*presets, *sorted(leaves)], 40)}")
        return f"{option} {name!r} is no preset, and no layer's name; {hint}"

    def check_floats(self, trained: set[str]) -> None:
        """Raise `OptionError` for packed weights that would be trained."""
        packed = [
            self.all_layers[path][1]
            for path, leaf in quantizable_layers(self.model).items()
            if isinstance(leaf, Quantized) and f"{path}.weight" in trained
        ]
        if packed:
            raise OptionError(
                f"quantized weights cannot be trained themselves: {', '.join(packed)}; give them "
                "adapters, or dequantize the model"
            )


def _matches(names: Iterable[str], globs: Iterable[str]) -> bool:
    """Whether a glob is whole words of one of the names: of the start, the middle or the end."""
    return any(fnmatchcase(f".{name}.", f"*.{glob}.*") for name in names for glob in globs)
