"""Draw the example page: plain text in the font that comes with Pillow, so that it can be redrawn.

Run from the repository's root: `python examples/render_page.py [page.png]`. The text goes to a
`.txt` file beside the image.
"""

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

TEXT = """\
Dear reader,

this page was drawn by a short script and read back by the
small model that comes with the library. It knows printed
English and nothing else: 260 tokens, 4 million weights.

Order 2041: 3 lamps at 19.50 each, 58.50 in all. Please
send them by Friday, or write before the 24th of May.

Lines too long for the model are cut between words, read
as one batch, and joined again.
"""
SIZE, LEADING, MARGIN = 22, 1.6, 44  # pixels; line height in sizes; pixels


def render(text: str) -> Image.Image:
    """Black text on white, a line of text to a line of print."""
    font = ImageFont.load_default(size=SIZE)
    lines = text.splitlines()
    step = round(SIZE * LEADING)
    width = round(max(font.getlength(line) for line in lines)) + 2 * MARGIN
    page = Image.new("L", (width, step * len(lines) + 2 * MARGIN), color=255)
    draw = ImageDraw.Draw(page)
    for number, line in enumerate(lines):
        draw.text((MARGIN, MARGIN + number * step), line, fill=0, font=font)
    return page


def main() -> None:
    """Write the page and its text."""
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "examples/page.png")
    render(TEXT).save(path, optimize=True)
    path.with_suffix(".txt").write_text(TEXT, encoding="utf-8")


if __name__ == "__main__":
    main()
