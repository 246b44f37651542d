"""What all image processors share: the fields of their files, checked, and the way to pixels.

Pillow resizes whole grey levels, so all arithmetic after it is a table of 256 numbers per channel:
the float32 bits are those of transformers' Pillow backend, and no array of float64 is made.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from PIL import Image

from ..errors import ConfigError, ImageError, nearest
from ..layers.batch_feature import BatchFeature, as_tensors
from .arrays import as_array, grey_levels, numbers_of
from .boxes import Box, Size, middle
from .geometry import Geometry
from .line_images import on_canvas
from .loading import ImageSource, load_image, to_rgb
from .settings import is_number, is_one_of, numbers, wrong
from .sizes import ANY_SIZE, HEIGHT_AND_WIDTH, Sides, read_size, resized
from .steps import Steps, checked

if TYPE_CHECKING:
    from typing_extensions import Self

PIECE = 2**15  # values looked up at a time: what then lies between is kept in the cache


def sides(**lengths: int) -> Any:
    """A dataclass field whose default is this size."""
    return field(default_factory=lambda: dict(lengths))


@dataclass(kw_only=True, eq=False)
class BaseImageProcessor:
    """Resize, centre crop, rescale, normalise and pad, as ViT's image processor does.

    `resample` is the number of a Pillow filter. Sizes are objects with height and width, with
    shortest_edge, with shortest_edge and longest_edge, or with max_height and max_width, and may be
    given as a number or as [height, width] too. Keys that are not fields are kept in `extra`.
    """

    image_processor_type: ClassVar[str] = "ViTImageProcessor"
    default_to_square: ClassVar[bool] = True  # what one number for a size is
    width_first: ClassVar[bool] = False  # what a list for a size is
    sizes: ClassVar[Sequence[set[str]]] = ANY_SIZE
    pads_less_first: ClassVar[bool] = False  # in a centre crop of an image that is too small
    pads_last: ClassVar[bool] = True  # with zeros, after all else, on the right and below
    own_steps: ClassVar[str] = ""  # the name of a project whose steps these are

    do_convert_rgb: bool | None = None
    do_resize: bool = True
    size: Sides = sides(height=224, width=224)
    resample: int = 2
    do_center_crop: bool = False
    crop_size: Sides | None = None
    do_rescale: bool = True
    rescale_factor: float = 1 / 255
    do_normalize: bool = True
    image_mean: Sequence[float] = (0.5, 0.5, 0.5)
    image_std: Sequence[float] = (0.5, 0.5, 0.5)
    do_pad: bool | None = None
    pad_size: Sides | None = None
    line_aspect_ratio: float | None = None
    extra: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def options(cls) -> set[str]:
        """The names of the fields that a file or a call may give."""
        return {f.name for f in fields(cls)} - {"extra"}

    @classmethod
    def from_fields(cls, values: Mapping[str, Any]) -> Self:
        """Build from the keys of a file; those that are no fields go to `extra`.

        A null turns a `do_…` off, as in transformers, and otherwise is the default of the class.
        """
        known = cls.options() & set(values)
        nulls = {name for name in known if values[name] is None}
        given: dict[str, Any] = {name: values[name] for name in known - nulls}
        given |= {name: False for name in nulls if name.startswith("do_") and getattr(cls, name)}
        if isinstance(given.get("size"), int) and values.get("default_to_square") is not None:
            given["size"] = read_size("size", given["size"], square=values["default_to_square"])
        return cls(**given, extra={key: values[key] for key in values if key not in known})

    def __post_init__(self) -> None:
        kinds = {"square": self.default_to_square, "width_first": self.width_first}
        self.size = read_size("size", self.size, self.sizes, **kinds)
        if self.crop_size is not None:
            self.crop_size = read_size("crop_size", self.crop_size, HEIGHT_AND_WIDTH)
        if self.pad_size is not None:
            self.pad_size = read_size("pad_size", self.pad_size, HEIGHT_AND_WIDTH)
        self.image_mean = numbers("image_mean", self.image_mean)
        self.image_std = numbers("image_std", self.image_std)
        self._check()

    def _check(self) -> None:
        means, deviations = self.image_mean, self.image_std
        cropped = self.crop_size is not None or not self.do_center_crop
        aspect = 1 if self.line_aspect_ratio is None else self.line_aspect_ratio
        expectations = {
            "resample": (is_one_of(self.resample, range(6)), "a Pillow filter, 0 to 5"),
            "crop_size": (cropped, "a size, as do_center_crop is true"),
            "rescale_factor": (is_number(self.rescale_factor), "a number"),
            "image_mean": (len(means) in (1, 3), "3 numbers, or 1 for grey images"),
            "image_std": (
                len(deviations) == len(means) and all(deviations),
                "as many numbers as image_mean has, and no zero",
            ),
            "line_aspect_ratio": (is_number(aspect) and aspect > 0, "a number above 0"),
        }
        for name in (f.name for f in fields(self) if f.name.startswith("do_")):
            value = getattr(self, name)
            fits = value is None or is_one_of(value, (False, True))
            expectations[name] = (fits, "true or false")
        for name, (fits, expected) in expectations.items():
            if not fits:
                raise wrong(name, getattr(self, name), expected)

    def changed(self, overrides: Mapping[str, Any]) -> Self:
        """The same processor with some fields replaced; None leaves a field as it is."""
        refuse_unknown(overrides, self.options())
        given = {name: value for name, value in overrides.items() if value is not None}
        return replace(self, **given)

    def to_dict(self) -> dict[str, Any]:
        """What `preprocessor_config.json` holds, for us and for transformers."""
        values = {name: getattr(self, name) for name in sorted(self.options())}
        present = {name: value for name, value in values.items() if value is not None}
        return {**self.extra, **present, "image_processor_type": self.image_processor_type}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BaseImageProcessor) and self.to_dict() == other.to_dict()

    def __call__(
        self,
        images: ImageSource | Sequence[ImageSource],
        *,
        return_tensors: str | None = None,
        **overrides: Any,
    ) -> Any:
        """One image or several to pixels (B, H, W, C) float32, an array of numpy.

        return_tensors -- "mx" or "np": those pixels as `pixel_values` of a `BatchFeature`.

        An override replaces a field for this call. Pillow images are taken as they lie, not turned
        the way up that their EXIF data says.
        """
        options = self.changed(overrides)
        pixels = options._batch([options._pixels(source) for source in listed(images)])
        if return_tensors is None:
            return pixels
        return BatchFeature(pixel_values=as_tensors(pixels, return_tensors))

    def _pixels(self, source: ImageSource) -> np.ndarray:
        """Pixels (H, W, C) before they are rescaled and normalised: grey levels, or floats."""
        values = numbers_of(source)
        if values is not None:
            return self._of_numbers(values)
        image, _ = self._opened(source)
        return as_array(self._steps(image).made(image))

    def _of_numbers(self, values: np.ndarray) -> np.ndarray:
        """The pixels of an array of numbers, as transformers makes them.

        They go through grey levels where something is resized, and come back in their own range;
        else they stay as they are.
        """
        if values.shape[2] == 1 and len(self.image_mean) == 3:
            values = np.repeat(values, 3, axis=2)
        if self.do_rescale and values.dtype.kind == "f" and values.min() >= 0 and values.max() <= 1:
            warnings.warn(
                "the image's floats are from 0 to 1 already, and do_rescale makes them smaller "
                "still; give do_rescale=False, or grey levels",
                stacklevel=4,
            )
        if self._keeps(values):
            steps = self._steps((values.shape[1], values.shape[0]))
            if not steps.resizes:
                return steps.made_of_numbers(values)
        levels, small = grey_levels(values)
        image, _ = self._opened(Image.fromarray(levels if levels.shape[2] > 1 else levels[..., 0]))
        pixels = as_array(self._steps(image).made(image))
        return self._restored(pixels, levels) if small else pixels

    def _keeps(self, values: np.ndarray) -> bool:
        """Whether numbers may stay as they are: nobody has to look at them as at a picture."""
        return (
            values.shape[2] == len(self.image_mean)
            and not self.do_resize
            and self.line_aspect_ratio is None
        )

    def _restored(self, pixels: np.ndarray, levels: np.ndarray) -> np.ndarray:
        """Processed grey levels as floats from 0 to 1, of which the levels were made."""
        return (pixels * (1 / 255)).astype(np.float32)

    def on_canvas(self, picture: Image.Image) -> tuple[Image.Image, Box]:
        """A picture of one line on a canvas of `line_aspect_ratio`, where the checkpoint has one.

        With it comes the canvas's box in the picture. Everything else, and what is not resized, is
        taken as it is.
        """
        if self.line_aspect_ratio is None or not self.do_resize:
            return picture, (0, 0, *picture.size)
        return on_canvas(picture, self.line_aspect_ratio)

    def _opened(self, source: ImageSource) -> tuple[Image.Image, Box]:
        """The picture that is processed, RGB or grey, and its box in the source."""
        if isinstance(source, Image.Image):
            checked(source.size, "the image")
            image = to_rgb(source)
        else:
            image = load_image(source)
        image, box = self.on_canvas(image)
        return (image if self.sees_colours else image.convert("L")), box

    @property
    def sees_colours(self) -> bool:
        """Whether a picture's colours are looked at; else it is made grey first."""
        return len(self.image_mean) == 3

    def _steps(self, picture: Image.Image | Size) -> Steps:
        """The steps for a picture, which most processors decide by its size alone."""
        steps = Steps.of(size_of(picture))
        if self.do_resize:
            steps.resize(resized(steps.size, self.size), self.resample)
        self._crop(steps)
        return steps

    def _crop(self, steps: Steps) -> None:
        if self.do_center_crop and self.crop_size:
            crop, less_first = self.crop_size, self.pads_less_first
            steps.crop(middle(steps.size, crop, pads_less_first=less_first))

    @property
    def made_size(self) -> tuple[int, int] | None:
        """Height and width of the pixels made of any image; None where they go by the image."""
        pictures = (640, 480), (40, 800), (800, 40), (2000, 3000)
        made = {self._framed(self._steps(size).size) for size in pictures}
        width, height = made.pop()
        return None if made else (height, width)

    @property
    def frame(self) -> Sides | None:
        """The height and width that pixels are padded to, where that is said."""
        return self.pad_size if self.do_pad and self.pads_last else None

    def _framed(self, size: Size) -> Size:
        """A size with what pads it."""
        return (self.frame["width"], self.frame["height"]) if self.frame else size

    def geometry(self, picture: Image.Image | Size) -> Geometry:
        """Where processed pixels lie in their picture, of which the (width, height) may be enough.

        >>> processor = BaseImageProcessor(size={"height": 32, "width": 384})
        >>> processor.geometry((600, 50)).to_original((8, 0, 16, 32))
        (12, 0, 25, 50)
        """
        if isinstance(picture, Image.Image):
            opened, box = self._opened(picture)
            geometry = Geometry.of(picture.size).cropped(box).then(self._steps(opened).geometry)
        else:
            geometry = self._steps(picture).geometry
        return geometry.cropped((0, 0, *self._framed(geometry.size)))

    def _batch(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Images (H, W, C) of grey levels as one array of normalised pixels."""
        height, width = self._common_size(images)
        batch = np.zeros((len(images), height, width, len(self.image_mean)), dtype=np.float32)
        for image, place in zip(images, batch, strict=True):
            self._fill(place[: image.shape[0], : image.shape[1]], image)
        return batch

    def _common_size(self, images: Sequence[np.ndarray]) -> tuple[int, int]:
        """The height and width that all images have, or are padded to."""
        shapes = sorted({image.shape for image in images})
        padded = self.do_pad and self.pads_last
        if not shapes or (len(shapes) > 1 and not padded):
            raise ImageError(
                f"images come out in {shapes or 'no'} shapes; expected one for all; give one image "
                "or more, and do_resize=True with a size of height and width"
            )
        height, width = (max(shape[side] for shape in shapes) for side in (0, 1))
        frame = self.frame or {"height": height, "width": width}
        if height > frame["height"] or width > frame["width"]:
            raise ImageError(
                f"images come out up to {height} high and {width} wide; expected at most the "
                f"pad_size, {frame}; make pad_size larger, or size smaller"
            )
        return frame["height"], frame["width"]

    def _fill(self, place: np.ndarray, image: np.ndarray) -> None:
        """Write the normalised pixels of an image into a place (H, W, C)."""
        if image.dtype != np.uint8:
            place[...] = self._normalised(self._rescaled(image))
            return
        levels = self._rescaled(np.arange(256))
        tables = self._normalised(np.repeat(levels[:, None], image.shape[2], axis=1)).T
        rows = PIECE // image.shape[1] + 1
        for top in range(0, len(image), rows):
            for channel, table in enumerate(tables):
                piece = image[top : top + rows, :, channel]
                place[top : top + rows, :, channel] = table[piece]

    def _rescaled(self, values: np.ndarray) -> np.ndarray:
        factor = self.rescale_factor if self.do_rescale else 1
        return (values.astype(np.float64) * factor).astype(np.float32)

    def _normalised(self, values: np.ndarray) -> np.ndarray:
        """Values (…, C) float32, less the mean, by the deviation."""
        if not self.do_normalize:
            return values
        mean = np.asarray(self.image_mean, dtype=np.float32)
        return (values - mean) / np.asarray(self.image_std, dtype=np.float32)


def listed(images: Any) -> list[Any]:
    """One image, several in a list, or those of an array (B, H, W, C), as a list."""
    several = isinstance(images, (list, tuple)) or len(getattr(images, "shape", ())) == 4
    return [*images] if several else [images]


def refuse_unknown(names: Collection[str], known: Collection[str]) -> None:
    """Raise `ConfigError` for a name that is not known, with the one it resembles."""
    for name in names:
        if name not in known:
            hint = nearest(name, sorted(known))
            raise ConfigError(f"{name} is no option of the processor; {hint}")


def size_of(picture: Image.Image | Size) -> Size:
    """The width and height of a picture, or a width and height as they are."""
    return picture.size if isinstance(picture, Image.Image) else picture
