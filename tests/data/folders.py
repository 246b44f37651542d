"""Folders of data in the layouts people have them, as small as they can be."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from tests.support import training_parts as parts

FORM, LINES = "a01-000u", ("a01-000u-00", "a01-000u-01", "b02-045-00")
IAM_LINES = """#--- lines.txt ---------------------------------------------------------------#
#
# format: a01-000u-00 ok 154 19 408 746 1661 89 A|MOVE|to|stop|Mr.|Gaitskell|from
#
a01-000u-00 ok 154 19 408 746 1661 89 A|MOVE|to|stop
a01-000u-01 err 156 19 395 932 1850 105 nominating|any|.
b02-045-00 ok 157 16 408 1106 1986 105 # of "Labour"
"""
IAM_WORDS = """#--- words.txt ---#
# format: a01-000u-00-00 ok 154 1 408 768 27 51 AT A
a01-000u-00-00 ok 154 408 768 27 51 AT A
a01-000u-00-01 ok 154 507 766 213 48 NN MOVE
a01-000u-01-00 err 156 395 932 441 100 VBG nominating
b02-045-00-00 ok 157 408 1106 86 105 QL #
"""
IAM_FORM = """<?xml version="1.0" encoding="ISO-8859-1"?>
<!DOCTYPE form SYSTEM "xml.dtd">
<form id="a01-000u" height="3542" width="2479" writer-id="000">
  <machine-printed-part><machine-print-line text="A MOVE to stop"/></machine-printed-part>
  <handwritten-part>
    <line id="a01-000u-00" segmentation="ok" text="A MOVE to &quot;stop&quot;" threshold="154">
      <word id="a01-000u-00-00" tag="AT" text="A"><cmp x="408" y="768" width="27"/></word>
    </line>
    <line id="a01-000u-01" segmentation="err" text="nominating any." threshold="156"/>
  </handwritten-part>
</form>
"""


def write(path: Path, content: str | bytes) -> Path:
    """Write a file, and the folders that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def save(path: Path, number: int = 0, size: tuple[int, int] = (24, 12)) -> Path:
    """Save a picture whose pixels depend on the number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parts.picture(number, size).save(path)
    return path


def dump(path: Path, *rows: object) -> Path:
    """Write JSON lines."""
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


def same(image: Image.Image, number: int) -> bool:
    """Whether an image is the picture of a number."""
    return image.tobytes() == parts.picture(number, image.size).tobytes()


def iam(folder: Path, *, flat: bool = False) -> Path:
    """The database with three lines and four words of two pages, without `xml`."""
    write(folder / "ascii" / "lines.txt", IAM_LINES)
    write(folder / "ascii" / "words.txt", IAM_WORDS)
    for kind, text in (("lines", IAM_LINES), ("words", IAM_WORDS)):
        names = [line.split(" ")[0] for line in text.splitlines() if line[0] != "#"]
        for number, name in enumerate(names):
            form = "-".join(name.split("-")[:2])
            inner = "." if flat else f"{name[:3]}/{form}"
            save(folder / kind / inner / f"{name}.png", number)
    return folder
