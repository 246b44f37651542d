"""Draw examples/page.png, eight printed lines in the typeface that comes with Pillow.

    python examples/render_page.py [page.png]

The text goes into page.txt beside it, to compare with what is read.
"""

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

TEXT = """\
Harbour Books: Order No. 48213
Dear Ms. Fielding, many thanks for your order of 12 October.
We have packed three books for you today.
One of them is a gift (The Quiet Garden, by Ada Marsh).
They will leave our shop on Thursday and reach you by Monday.
The total is $47.85 and postage within the country is free.
Any questions? Call 0161 496 0203 or write to us by email.
With kind regards, Peter Holm
"""

SIZE = 28  # of the letters, in pixels
LEADING = 44  # from line to line
MARGIN = 60


def render(text: str) -> Image.Image:
    """The text in black on white, one line of print for each line."""
    font = ImageFont.load_default(size=SIZE)
    lines = text.splitlines()
    width = max(int(font.getlength(line)) for line in lines) + 2 * MARGIN
    page = Image.new("L", (width, LEADING * len(lines) + 2 * MARGIN), 255)
    draw = ImageDraw.Draw(page)
    for number, line in enumerate(lines):
        draw.text((MARGIN, MARGIN + LEADING * number), line, font=font, fill=0)
    return page


def main(path: Path) -> None:
    """Write the page to `path` and its text beside it."""
    render(TEXT).save(path, optimize=True)
    path.with_suffix(".txt").write_text(TEXT, encoding="ascii", newline="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("page.png"))
