"""The typefaces that pages are set in: packages of the npm registry, fetched once by `npm pack`.

All are free, under the SIL Open Font License 1.1, Special Elite under the Apache License 2.0; a
package has the licence's text. They are not part of this repository.
"""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path
from typing import NamedTuple

from PIL import ImageFont

VERSIONS = {
    "libre-baskerville": "5.3.0",
    "lora": "5.3.0",
    "merriweather": "5.3.0",
    "source-serif-4": "5.3.1",
    "pt-serif": "5.3.0",
    "cardo": "5.3.0",
    "zilla-slab": "5.3.0",
    "work-sans": "5.3.0",
    "fira-sans": "5.3.0",
    "source-sans-3": "5.3.0",
    "libre-franklin": "5.3.0",
    "barlow-condensed": "5.3.0",
    "courier-prime": "5.3.0",
    "special-elite": "5.3.0",
}
TYPEWRITERS = ("courier-prime", "special-elite")
NARROW = ("barlow-condensed",)
FOR_TEXT = tuple(name for name in VERSIONS if name not in (*TYPEWRITERS, *NARROW))
UPRIGHT_ONLY = ("special-elite",)


class Typeface(NamedTuple):
    """A family's files, and where they are."""

    family: str
    folder: Path

    def font(
        self, size: float, *, bold: bool = False, italic: bool = False
    ) -> ImageFont.FreeTypeFont:
        """The font whose em has as many pixels as the size."""
        style = "italic" if italic else "normal"
        if self.family in UPRIGHT_ONLY:
            bold, style = False, "normal"
        if self.family == "cardo" and bold:
            style = "normal"  # it has no bold italic
        name = f"{self.family}-latin-{700 if bold else 400}-{style}.woff"
        return ImageFont.truetype(
            str(self.folder / name), size, layout_engine=ImageFont.Layout.BASIC
        )


def fetch(folder: Path) -> None:
    """Fetch the typefaces that are not yet in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for family, version in VERSIONS.items():
        archive = folder / f"fontsource-{family}-{version}.tgz"
        if not archive.is_file():
            package = f"@fontsource/{family}@{version}"
            subprocess.run(["npm", "pack", package, "--silent"], cwd=folder, check=True)
        _unpack(archive, folder)


def _unpack(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as files:
        for member in files.getmembers():
            name = Path(member.name).name
            wanted = "-latin-400-" in name or "-latin-700-" in name
            if wanted and name.endswith(".woff") and not (folder / name).is_file():
                inner = files.extractfile(member)
                assert inner is not None
                (folder / name).write_bytes(inner.read())
