"""Models as folders: `from_pretrained` and `save_pretrained`, for a whole model as for a part."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import mlx.core as mx
import mlx.nn as nn

from ..errors import ConfigError, OptionError
from ..layers.dropout import checkpointed
from ..layers.lora import check_no_adapters
from ..layers.packed import float_type
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
        config.check()
        self.config = config
        self._carried: weights.Tensors = {}  # stored, but not computed with
        self.gradient_checkpointing = False
        self.source: str | None = None  # the folder or Hub id that it was loaded from,
        self.revision: str | None = None  # and of a Hub id the commit
        self.new_weights: tuple[str, ...] = ()  # names on disk of what the file lacked

    def in_turn(self, layers: Iterable[nn.Module]) -> Iterator[Callable[..., Any]]:
        """The layers; with `gradient_checkpointing`, computed again in the backward pass."""
        again = self.training and self.gradient_checkpointing
        return (checkpointed(layer) if again else layer for layer in layers)

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

    def untie(self) -> None:
        """Give the head weights of its own, which start as the embedding's."""
        raise NotImplementedError

    @classmethod
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
        wanted = parse_dtype(one_of(dtype, torch_dtype, "dtype and torch_dtype"))
        both = "quantize and quantization_config"
        quantize = one_of(quantize, quantization_config, both)
        if wanted is None and mx.default_device().type == mx.DeviceType.cpu:
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
            mx.eval(model.parameters())
        return model

    @classmethod
    def from_folder(
        cls, folder: Path, config: Any = None, *, tensors: Mapping[str, mx.array] | None = None
    ) -> Self:
        """Load a local folder, its weights unread and of the file's own types.

        tensors -- by their names on disk, in place of those in the folder.
        """
        model = cls(config or cls.config_class.from_pretrained(folder))
        renames, tied, extra = model.renames, model.ties_head, model.config.extra
        found = weights.read(folder) if tensors is None else tensors
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
        if loaded.new:
            LOG.warning("%s lacks weights, which are new: %s", folder, ", ".join(loaded.new))
        model.eval()
        return model

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
        self.write(Path(folder), saving.Saving(max_shard_size))

    def write(self, folder: Path, how: saving.Saving) -> None:
        """Write weights as `how` says, then the config; until the end the folder stays as it was.

        This is what `save_pretrained` does, which models with more than these two files extend.
        """
        self.config.check()
        check_no_adapters(self, "it is saved as a checkpoint; save_adapters writes them alone")
        extra, block = self.config.extra, quantizing.quantization_block(self)
        for key in KEYS:
            extra.pop(key, None)
            extra.update({key: block} if block else {})
        extra["dtype"] = str(float_type(self)).removeprefix("mlx.core.")
        extra.pop("torch_dtype", None)  # the name before transformers 5
        saving.save(
            self,
            folder,
            self._carried,
            how,
            layout="mlx" if block else "pt",
            last=lambda: self.config.save_pretrained(folder),
        )


def one_of(ours: Any, theirs: Any, names: str) -> Any:
    """The value of an option that has two names."""
    if ours is not None and theirs is not None:
        raise OptionError(f"{names} are both given, which are one option; give one of them")
    return theirs if ours is None else ours


def parse_dtype(dtype: str | mx.Dtype | Any) -> mx.Dtype | None:
    """A type of numbers, of MLX or torch, or its name as in Hugging Face's configs; or None."""
    if dtype is None or dtype == "auto":
        return None
    name = str(dtype).removeprefix("mlx.core.").removeprefix("torch.")
    if name not in DTYPES:
        raise ConfigError(f"dtype is {name}; expected one of {', '.join(DTYPES)}")
    return DTYPES[name]
