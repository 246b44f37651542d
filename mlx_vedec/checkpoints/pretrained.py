"""Models as folders: `from_pretrained` and `save_pretrained`, for a whole model as for a part."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import mlx.core as mx
import mlx.nn as nn

from ..errors import CheckpointError, ConfigError, OptionError, as_path, check_type, listed
from ..files import make_folder, staged
from ..layers.compiled import on_gpu
from ..layers.computing import check_process, computing
from ..layers.cpu_layout import lay_out, lay_out_by_rows
from ..layers.dropout import checkpointed
from ..layers.lora import check_no_adapters
from ..layers.packed import count_weights, float_type, type_name
from ..layers.quantization_config import KEYS, QuantizationConfig
from . import foreign, quantizing, saving, weights
from .config import Config
from .hub import check_habits, fetch
from .renames import NamedModule

if TYPE_CHECKING:
    from typing_extensions import Self

LOG = logging.getLogger("mlx_vedec")
DTYPES = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}


class Pretrained(NamedModule):
    """Base of modules that have a folder of their own: a config, weights, a table of names."""

    config_class: ClassVar[type[Any]]
    base_model_prefix: ClassVar[str] = ""  # of a part inside a model with a task: "vit", "bert"
    may_lack: ClassVar[tuple[str, ...]] = ()  # parameters that a file may leave as they were made
    config: Any

    def __init__(self, config: Config) -> None:
        super().__init__()
        kind = getattr(type(self), "config_class", Config)
        if not isinstance(config, kind):
            raise ConfigError(f"the config is {repr(config)[:80]}; expected a {kind.__name__}")
        config.check()
        self.config = config
        self._carried: weights.Tensors = {}  # stored, but not computed with
        self._laid_out = False  # for inference on a CPU
        self.gradient_checkpointing = False
        self.source: str | None = None  # the folder or Hub id that it was loaded from,
        self.revision: str | None = None  # and of a Hub id the commit
        self.new_weights: tuple[str, ...] = ()  # names on disk of what the file lacked
        self.has_other_tokens = False  # whether its vocabulary was replaced since

    def __repr__(self) -> str:
        parts = [self[name].config.model_type for name in ("encoder", "decoder") if name in self]
        block = quantizing.quantization_block(self)
        kind = f"{block['bits']} bits" if block else type_name(float_type(self))
        known = f", from {self.source}" if self.source else ""
        what = " and ".join(parts) or self.config.model_type
        count = f"{self.num_parameters():,} parameters"
        return f"{type(self).__name__}({what}, {count} in {kind}{known})"

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """How many numbers the weights have; of a packed weight, those that it stands for.

        only_trainable -- without those that are frozen; exclude_embeddings -- without tokens' and
        positions' tables
        """
        left_out = nn.Embedding | nn.QuantizedEmbedding if exclude_embeddings else ()
        modules = [module for module in self.modules() if not isinstance(module, left_out)]
        if not only_trainable:
            return sum(map(count_weights, modules))
        named = [(m, name, x) for m in modules for name, x in m.items() if name[0] != "_"]
        trained = [x for m, name, x in named if isinstance(x, mx.array) and name not in m._no_grad]
        return sum(array.size for array in trained)

    def in_turn(self, layers: Iterable[nn.Module]) -> Iterator[Callable[..., Any]]:
        """The layers; with `gradient_checkpointing`, computed again in the backward pass."""
        again = self.training and self.gradient_checkpointing
        return (checkpointed(layer) if again else layer for layer in layers)

    def train(self, mode: bool = True) -> Self:
        """Set training mode, or with False `eval()` mode."""
        if mode and self._laid_out:
            lay_out_by_rows(self)
            self._laid_out = False
        super().train(mode)
        return self

    @property
    def device(self) -> mx.Device:
        """The device that computes, MLX's default one."""
        return mx.default_device()

    def to(self, *args: Any, dtype: str | mx.Dtype | None = None, **kwargs: Any) -> Self:
        """The model itself, its parameters in the type that is given; devices change nothing.

        MLX's arrays lie in memory that every device reads.
        """
        names = {str(given).removeprefix("torch.") for given in args} & DTYPES.keys()
        wanted = parse_dtype(dtype if dtype is not None else next(iter(names), None))
        if wanted is None:
            wanted = next((given for given in args if isinstance(given, mx.Dtype)), None)
        if wanted is not None:
            self.astype(wanted)
        return self

    @property
    def ties_head(self) -> bool:
        """Whether the config makes one matrix of the embedding and the head."""
        return False

    def get_output_embeddings(self) -> Any:
        """The layer that scores tokens; of a model that has none, None."""
        return None

    def untie(self) -> None:
        """Give the head weights of its own, which start as the embedding's."""
        raise NotImplementedError

    def resize_token_embeddings(self, new_num_tokens: int) -> None:
        """Cut or extend the vocabulary of a model that has one."""
        raise NotImplementedError

    @classmethod
    @computing()
    def from_pretrained(
        cls,
        path_or_hf_repo: str | Path,
        *,
        config: Any = None,
        dtype: str | mx.Dtype | None = None,
        quantize: int | QuantizationConfig | None = None,
        lazy: bool = False,
        revision: str | None = None,
        subfolder: str | None = None,
        torch_dtype: Any = None,
        quantization_config: int | QuantizationConfig | None = None,
        **habits: Any,
    ) -> Self:
        """Load a folder or a Hub id, in `eval()` mode.

        config -- in place of the folder's `config.json`. dtype -- of the parameters; by default
        that of the file, but float32 for half types on a CPU, where MLX has no fast half-precision
        product. quantize -- floats to so many bits as they are loaded; what is stored quantized
        stays so without. lazy -- leave the weights unread, which those of a pickle never are.
        subfolder -- of the folder or the repository, where the checkpoint is. torch_dtype and
        quantization_config are transformers' names of dtype and quantize; its `device_map`,
        `low_cpu_mem_usage` and the like are taken and change nothing.
        """
        check_habits(habits)
        check_type("config", config, (cls.config_class, type(None)))
        wanted = parse_dtype(one_of(dtype, torch_dtype, "dtype and torch_dtype"))
        both = "quantize and quantization_config"
        quantize = one_of(quantize, quantization_config, both)
        if wanted is None and not on_gpu():
            wanted = mx.float32
        folder = fetch(path_or_hf_repo, revision, subfolder=subfolder)
        model = cls.from_folder(folder, config)
        model.source = str(path_or_hf_repo)
        if folder.parent.name == "snapshots":  # of the Hub's cache
            model.revision = folder.name
        if wanted is not None:
            model.astype(wanted)
        if quantize is not None:
            quantizing.quantize(model, quantize)
        if not lazy:
            head = model.get_output_embeddings() if model.ties_head else None
            model._laid_out = lay_out(model, head)
            mx.eval(model.parameters())
        return model

    @classmethod
    def from_folder(
        cls, folder: Path, config: Any = None, *, tensors: Mapping[str, mx.array] | None = None
    ) -> Self:
        """Load a local folder, its weights unread and of the file's own types.

        tensors -- by their names on disk, in place of those in the folder.
        """
        config = config or cls.config_class.from_pretrained(folder)
        found = weights.read(folder) if tensors is None else tensors
        model = cls._built(config, len(found), folder)
        renames, tied, extra = model.renames, model.ties_head, model.config.extra
        tensors = weights.stored_tensors(found, renames, cls.base_model_prefix, extra, str(folder))
        foreign.forget_method(extra)
        if tied and not weights.are_tied(tensors, renames):
            model.untie()
        tensors = weights.complete_ties(tensors, renames, tied)
        quantizing.quantize_as_stored(model, tensors, extra)
        for key in KEYS:  # what the layers are says it from now on
            extra.pop(key, None)
        loaded = weights.load(model, tensors, renames, str(folder), cls.may_lack)
        model._carried, model.new_weights = loaded.carried, loaded.new
        model.read_carried(loaded.carried)
        if loaded.new:
            LOG.warning("%s lacks weights, which are new: %s", folder, listed(loaded.new))
        model.eval()
        return model

    @classmethod
    def _built(cls, config: Config, tensors: int, folder: Path) -> Self:
        """The model of a config, which may not ask for what so many tensors cannot be."""
        config.check()
        for name, count in _layers(config.to_dict()):
            if count > tensors:
                raise ConfigError(
                    f"config.json of {folder} has {name}={count}, but its weights are {tensors} "
                    "tensors in all; expected no more layers than that: download the file again"
                )
        try:
            return cls(config)
        except (OverflowError, MemoryError, RuntimeError) as error:
            raise ConfigError(
                f"there can be no model of the sizes in config.json of {folder} ({error}); "
                "download the file again"
            ) from error

    def astype(self, dtype: str | mx.Dtype) -> Self:
        """Cast what is floating-point, in place, to "float32", "float16" or "bfloat16"."""
        wanted = parse_dtype(dtype)
        assert wanted is not None
        self.set_dtype(wanted)
        floating = (n for n, x in self._carried.items() if mx.issubdtype(x.dtype, mx.floating))
        self._carried = {**self._carried, **{n: self._carried[n].astype(wanted) for n in floating}}
        return self

    def save_pretrained(
        self, folder: str | Path, *, max_shard_size: int = saving.SHARD_SIZE
    ) -> None:
        """Write config and weights as transformers does and reads them; sizes are in bytes.

        Quantized layers are written as mlx-lm does, which transformers does not read.
        """
        self.write(as_path(folder, "folder", CheckpointError), saving.Saving(max_shard_size))

    def write(self, folder: Path, how: saving.Saving) -> None:
        """Write weights as `how` says, and the configs; until the end the folder is as it was."""
        check_process()
        self.config.check()
        check_no_adapters(self, "it is saved as a checkpoint; save_adapters writes them alone")
        extra, block = self.config.extra, quantizing.quantization_block(self)
        for key in KEYS:
            extra.pop(key, None)
            extra.update({key: block} if block else {})
        extra["dtype"] = type_name(float_type(self))
        extra.pop("torch_dtype", None)  # the name before transformers 5
        make_folder(folder)
        with staged(folder):
            carried = {**self._lacking(), **self._carried}
            saving.save(self, folder, carried, how, layout="mlx" if block else "pt")
            self.save_configs(folder)

    def read_carried(self, carried: weights.Tensors) -> None:
        """Look at stored tensors that are no parameters, by their names on disk."""

    def unread(self) -> weights.Tensors:
        """Tensors that transformers has and nothing here reads, by name on disk, as new ones.

        They are written where none were carried, since transformers would report that they lack.
        """
        return {}

    def _lacking(self) -> weights.Tensors:
        """What is unread and was not carried, by whatever name, in the type of the others."""
        dtype, names = float_type(self), tuple(self._carried)
        return {
            name: x.astype(dtype)
            for name, x in self.unread().items()
            if not any(carried.endswith(name.removeprefix("encoder.")) for carried in names)
        }

    def save_configs(self, folder: Path) -> None:
        """Write `config.json`; models that have other settings extend it."""
        self.config.save_pretrained(folder)


def _layers(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, int]]:
    """The fields of a config that count layers, by name, those of its parts too."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _layers(value, f"{prefix}{name}.")
        elif name.endswith(("layers", "layer", "depths")):
            counts = value if isinstance(value, (list, tuple)) else (value,)
            yield f"{prefix}{name}", sum(count for count in counts if type(count) is int)


def one_of(ours: Any, theirs: Any, names: str) -> Any:
    """The value of an option that has two names."""
    if ours is not None and theirs is not None:
        raise OptionError(f"{names} are both given, which are one option; give one of them")
    return theirs if ours is None else ours


def parse_dtype(dtype: str | mx.Dtype | Any) -> mx.Dtype | None:
    """A type of numbers, of MLX or torch, or its name as in Hugging Face's configs; or None."""
    if dtype is None or (isinstance(dtype, str) and dtype == "auto"):
        return None
    name = str(dtype).removeprefix("mlx.core.").removeprefix("torch.")
    if name not in DTYPES:
        raise ConfigError(f"dtype is {name[:80]}; expected one of {', '.join(DTYPES)}")
    return DTYPES[name]
