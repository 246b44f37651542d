"""Typefaces: the packages `fontpkg-*` that are installed, and the fonts of folders."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from PIL import ImageFont

# families that nothing is learned from
UNSEEN = {*("CourierPrime", "Lora", "Literata", "OpenSans", "PTSans", "PTSansNarrow", "Saira")}
UNSEEN |= {"SairaCondensed", "SpaceMono", "Vollkorn"}
LEFT_OUT = re.compile(  # extreme weights, signs, other scripts, capitals in the place of letters
    "Thin|ExtraLight|Hairline|Black|Heavy|ExtraBold|Outline|Stencil|Math|Ding|Symbol|Emoji|Arabic|"
    "Hebrew|D050000L|BebasNeue|Cinzel|Anton-|SC\\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Face:
    """One style of a typeface: its file, what a file of many styles is set to, what it has."""

    path: Path
    axes: tuple[float, ...]
    characters: frozenset[str]

    @property
    def family(self) -> str:
        """The name of the file up to its style, or of the family that many files belong to."""
        name = re.split(r"[-\[.]", self.path.name.replace(" ", "").replace("_", ""))[0]
        name = re.sub("^cmun.*", "ComputerModern", name)
        return re.sub(r"(Minus)?(Bold|Italic|Oblique|(?<=Pro)B?I?|Variable)*$", "", name)

    def font(self, size: int, layout: ImageFont.Layout) -> ImageFont.FreeTypeFont:
        """The face at a size in pixels."""
        font = ImageFont.truetype(self.path, size, layout_engine=layout)
        if self.axes:
            font.set_variation_by_axes(list(self.axes))
        return font


def faces(folders: Sequence[Path] = ()) -> list[Face]:
    """The faces of all packages and of the folders, without extreme weights."""
    packages = (m.name for m in iter_modules() if m.name.startswith("fontpkg_"))
    roots = [*(import_module(name).ROOT for name in sorted(packages)), *folders]
    files = (path for root in roots for path in Path(root).rglob("*.?t[fF]"))
    paths = sorted({path for path in files if path.suffix in (".ttf", ".otf")})
    return [face for path in paths if not LEFT_OUT.search(path.stem) for face in _styles(path)]


def _styles(path: Path) -> Iterator[Face]:
    try:
        font = import_module("fontTools.ttLib").TTFont(path, lazy=True)
        known = frozenset(map(chr, font.getBestCmap() or ()))
    except Exception:  # of many kinds, by what is wrong in the file
        return
    if not known.issuperset(string.ascii_letters + string.digits + ".,-"):
        return
    if "fvar" not in font:
        yield Face(path, (), known)
        return
    axes = font["fvar"].axes
    for weight, narrow in ((400, False), (700, False), (500, True)):
        if narrow and not any(axis.axisTag == "wdth" and axis.minValue < 90 for axis in axes):
            continue
        wanted = {"wght": weight, **({"wdth": 0} if narrow else {})}
        values = (
            min(max(wanted.get(a.axisTag, a.defaultValue), a.minValue), a.maxValue) for a in axes
        )
        yield Face(path, tuple(values), known)
