"""Pictures to pixels as Hugging Face's image processors make them, from the same JSON files.

The pixels are those of transformers 5.23's Pillow backend (`ViTImageProcessorPil` and so on) bit
for bit. What differs: a picture of any mode is made RGB first, or grey where there is one mean,
on most of which it fails; arrays of uint16 above 255 are divided by 257. Its torchvision backend
differs from both (0.28, over 60 lines and 4 pages of text): in below 1 % of the grey levels,
bilinear (ViT, Donut) by 1, bicubic (the others) by 1 or 2; in noise by up to 17. In transformers 4,
Donut's thumbnails were bicubic, whatever `resample` said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..checkpoints.hub import fetch
from ..errors import ConfigError, OptionError, shown
from ..files import write_json
from .arrays import as_array, numbers_of
from .base_image_processor import BaseImageProcessor, sides
from .loading import ImageSource
from .of_encoders import OF_ENCODERS
from .other_steps import DPTSteps, GotOcr2Steps, YolosSteps
from .own_steps import NougatLatexSteps, TexifySteps, TexTellerSteps
from .page_steps import DonutSteps, NougatSteps
from .processor_files import MERGED_FILE, OWN_FILE, processor_values, read_if_there
from .sizes import Sides

if TYPE_CHECKING:
    from typing_extensions import Self

TYPE_NAME = re.compile(r"(\w+?)(ImageProcessor|FeatureExtractor)(Fast|Pil)?")


@dataclass(kw_only=True, eq=False)
class ImageProcessor(BaseImageProcessor):
    """Any image processor: what its file names, or ViT's where it is made by hand.

    `line_aspect_ratio` is our own key: the width to height of the lines of a checkpoint's training.

    >>> from PIL import Image
    >>> processor = ImageProcessor.from_dict({"feature_extractor_type": "ViTFeatureExtractor"})
    >>> processor([Image.new("RGB", (600, 50), "white")], size=[32, 384]).shape
    (1, 32, 384, 3)
    """

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], model_type: str | None = None) -> Self:
        """Build from a parsed JSON file of any age.

        `ImageProcessor` takes the class that the file names, or else that of the encoder's
        `model_type`; of any other class, a file is read as one of its own.
        """
        values = dict(values.get("image_processor", values))
        old_name = values.pop("feature_extractor_type", None)
        type_name = values.pop("image_processor_type", None) or old_name
        own = THEIR_NAMES.get(str(type_name)) or THEIR_NAMES.get(str(values.get("processor_class")))
        if cls is ImageProcessor and own:
            return cls.of_own_steps(own, values)
        kind: type[Any] = _kind(type_name, model_type) if cls is ImageProcessor else cls
        return kind.from_fields(values)

    @classmethod
    def of_own_steps(cls, name: str, values: Mapping[str, Any] | None = None) -> Self:
        """The processor of a project's own image steps, by the name that `OWN_STEPS` has for them.

        values -- a parsed JSON file of another class, of which is taken what those steps read
        """
        kind: type[Any] | None = OWN_STEPS.get(name) if isinstance(name, str) else None
        if kind is None:
            raise OptionError(
                f"image_steps is {shown(name)}; expected one of {', '.join(OWN_STEPS)}"
            )
        given, kept = values or {}, kind.kept
        if given.get("image_processor_type") == kind.image_processor_type:
            kept = None
        about = ("image_processor_type", "feature_extractor_type", "processor_class")
        return kind.from_fields(
            {
                key: value
                for key, value in given.items()
                if key not in about and (kept is None or key in kept)
            }
        )

    @classmethod
    def from_pretrained(
        cls,
        path_or_hf_repo: str | Path,
        *,
        revision: str | None = None,
        image_steps: str | None = None,
        **overrides: Any,
    ) -> Self:
        """From a folder, a Hub id or a JSON file; an override replaces what the file says.

        In a folder it is `preprocessor_config.json`, or what `processor_config.json` has of it.
        image_steps -- a name of `OWN_STEPS`: that project's own image steps, whatever the file
        says, which need not be there.
        """
        path = Path(path_or_hf_repo).expanduser()
        alone = path.is_file()
        folder = path.parent if alone else fetch(path_or_hf_repo, revision, weights=False)
        if image_steps is not None:
            values = read_if_there(path) if alone else processor_values(folder, required=False)
            values = values.get("image_processor", values)
            return cls.of_own_steps(image_steps, values).changed(overrides)
        values = read_if_there(path) if alone else processor_values(folder)
        config = read_if_there(folder / "config.json")
        encoder = config.get("encoder")
        model_type = (encoder if isinstance(encoder, Mapping) else config).get("model_type")
        return cls.from_dict(values, model_type).changed(overrides)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `preprocessor_config.json`; where `processor_config.json` has a copy, that too."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / OWN_FILE, self.to_dict())
        merged = read_if_there(folder / MERGED_FILE)
        if "image_processor" in merged:
            write_json(folder / MERGED_FILE, {**merged, "image_processor": self.to_dict()})


def _kind(type_name: str | None, model_type: str | None) -> type[ImageProcessor]:
    named = TYPE_NAME.fullmatch(type_name or "")
    name = f"{named[1]}ImageProcessor" if named else ""
    kind = PROCESSORS.get(name if type_name else OF_ENCODERS.get(model_type, ""))
    if kind is None:
        raise ConfigError(
            f"image_processor_type is {type_name!r}; expected one of {', '.join(PROCESSORS)}; "
            "a file that only has another name is read by the class it fits, as ViTImageProcessor"
        )
    return kind


# The image processors by name, each with the defaults it has in transformers


@dataclass(kw_only=True, eq=False)
class ViTImageProcessor(ImageProcessor):
    """Bilinear to 224x224; also for Swin, Swin V2 and ViT-MSN."""


@dataclass(kw_only=True, eq=False)
class DeiTImageProcessor(ImageProcessor):
    """Bicubic to 256x256, of which the middle 224x224."""

    image_processor_type: ClassVar[str] = "DeiTImageProcessor"
    resample: int = 3
    size: Sides = sides(height=256, width=256)
    do_center_crop: bool = True
    crop_size: Sides | None = sides(height=224, width=224)


@dataclass(kw_only=True, eq=False)
class BeitImageProcessor(ImageProcessor):
    """Bicubic to 224x224; also for data2vec-vision. It never pads."""

    image_processor_type: ClassVar[str] = "BeitImageProcessor"
    pads_last: ClassVar[bool] = False
    resample: int = 3
    crop_size: Sides | None = sides(height=224, width=224)


@dataclass(kw_only=True, eq=False)
class CLIPImageProcessor(ImageProcessor):
    """Bicubic to 224 along the shorter side, of which the middle 224x224."""

    image_processor_type: ClassVar[str] = "CLIPImageProcessor"
    default_to_square: ClassVar[bool] = False
    do_convert_rgb: bool | None = True
    size: Sides = sides(shortest_edge=224)
    resample: int = 3
    do_center_crop: bool = True
    crop_size: Sides | None = sides(height=224, width=224)
    image_mean: Sequence[float] = (0.48145466, 0.4578275, 0.40821073)
    image_std: Sequence[float] = (0.26862954, 0.26130258, 0.27577711)


@dataclass(kw_only=True, eq=False)
class BitImageProcessor(CLIPImageProcessor):
    """CLIP's under another name; the files of DINOv2, which it is for, change most of it."""

    image_processor_type: ClassVar[str] = "BitImageProcessor"


@dataclass(kw_only=True, eq=False)
class ChineseCLIPImageProcessor(CLIPImageProcessor):
    """CLIP's under another name."""

    image_processor_type: ClassVar[str] = "ChineseCLIPImageProcessor"


@dataclass(kw_only=True, eq=False)
class DPTImageProcessor(DPTSteps, ImageProcessor):
    """Bicubic to 384x384, or to the nearest size of the same aspect, in multiples of a number."""

    image_processor_type: ClassVar[str] = "DPTImageProcessor"


@dataclass(kw_only=True, eq=False)
class YolosImageProcessor(YolosSteps, ImageProcessor):
    """Bilinear to 800 along the shorter side or 1333 along the longer, in multiples of 16."""

    image_processor_type: ClassVar[str] = "YolosImageProcessor"


@dataclass(kw_only=True, eq=False)
class GotOcr2ImageProcessor(GotOcr2Steps, ImageProcessor):
    """Bicubic to 384x384; InternVL's. It does not cut a picture into several."""

    image_processor_type: ClassVar[str] = "GotOcr2ImageProcessor"


@dataclass(kw_only=True, eq=False)
class Tipsv2ImageProcessor(ImageProcessor):
    """Bilinear to 448x448, from 0 to 1; in transformers it needs torchvision."""

    image_processor_type: ClassVar[str] = "Tipsv2ImageProcessor"
    do_convert_rgb: bool | None = True
    size: Sides = sides(height=448, width=448)
    do_normalize: bool = False


@dataclass(kw_only=True, eq=False)
class SiglipImageProcessor(ImageProcessor):
    """Bicubic to 224x224; but one number for a size is the shorter side."""

    image_processor_type: ClassVar[str] = "SiglipImageProcessor"
    default_to_square: ClassVar[bool] = False
    do_convert_rgb: bool | None = True
    resample: int = 3


@dataclass(kw_only=True, eq=False)
class DINOv3ViTImageProcessor(ImageProcessor):
    """Bilinear to 224x224, after rescaling and so without rounding to grey levels.

    In transformers it needs torchvision, whose bilinear and bicubic filters Pillow's meet within
    4e-5 before normalising.
    """

    image_processor_type: ClassVar[str] = "DINOv3ViTImageProcessor"
    pads_less_first: ClassVar[bool] = True
    image_mean: Sequence[float] = (0.485, 0.456, 0.406)
    image_std: Sequence[float] = (0.229, 0.224, 0.225)

    def _pixels(self, source: ImageSource) -> np.ndarray:
        values = numbers_of(source)
        if values is None and not self.do_rescale:
            return super()._pixels(source)
        if values is None or values.shape[2] != len(self.image_mean):
            values = as_array(self._opened(source)[0])
        factor = np.float32(self.rescale_factor if self.do_rescale else 1)
        steps = self._steps((values.shape[1], values.shape[0]))
        return steps.made_of_numbers(np.float32(values) * factor)

    def _rescaled(self, values: np.ndarray) -> np.ndarray:
        """Floats are rescaled already."""
        return values if values.dtype.kind == "f" else super()._rescaled(values)


@dataclass(kw_only=True, eq=False)
class DonutImageProcessor(DonutSteps, ImageProcessor):
    """Pages: shrunk to fit into 2560x1920 and centred on black; lists are [width, height].

    `do_align_long_axis` first turns a picture that lies across the page by a quarter, clockwise.
    """

    image_processor_type: ClassVar[str] = "DonutImageProcessor"


@dataclass(kw_only=True, eq=False)
class NougatImageProcessor(NougatSteps, DonutImageProcessor):
    """Pages: margins cut off, then as Donut's, to 896x672; lists are [height, width]."""

    image_processor_type: ClassVar[str] = "NougatImageProcessor"


# Steps that a project has in code of its own, under names of ours for what they are saved as


@dataclass(kw_only=True, eq=False)
class TexTellerImageProcessor(TexTellerSteps, ImageProcessor):
    """Formulas for TexTeller: trimmed, grey, into 448x448."""

    image_processor_type: ClassVar[str] = "TexTellerImageProcessor"


@dataclass(kw_only=True, eq=False)
class TexifyImageProcessor(TexifySteps, ImageProcessor):
    """Formulas and text for texify: in the middle of white, 420x420."""

    image_processor_type: ClassVar[str] = "TexifyImageProcessor"


@dataclass(kw_only=True, eq=False)
class NougatLatexImageProcessor(NougatLatexSteps, NougatImageProcessor):
    """Formulas for nougat-latex: low ones enlarged on black, 224x560."""

    image_processor_type: ClassVar[str] = "NougatLatexImageProcessor"


OWN_KINDS = TexTellerImageProcessor, NougatLatexImageProcessor, TexifyImageProcessor
OWN_STEPS: dict[str, type[ImageProcessor]] = {kind.own_steps: kind for kind in OWN_KINDS}
THEIR_NAMES = {  # of image processors and of processors, as those projects save them
    "VariableDonutImageProcessor": "texify",
    "VariableDonutProcessor": "texify",
    "NougatLaTexProcessor": "nougat-latex",
}

AutoImageProcessor = ImageProcessor
KINDS = (
    *(ViTImageProcessor, DeiTImageProcessor, BeitImageProcessor, CLIPImageProcessor),
    *(BitImageProcessor, SiglipImageProcessor, DINOv3ViTImageProcessor),
    *(ChineseCLIPImageProcessor, DPTImageProcessor, YolosImageProcessor),
    *(GotOcr2ImageProcessor, Tipsv2ImageProcessor),
    *(DonutImageProcessor, NougatImageProcessor, *OWN_KINDS),
)
PROCESSORS: dict[str, type[ImageProcessor]] = {kind.image_processor_type: kind for kind in KINDS}
