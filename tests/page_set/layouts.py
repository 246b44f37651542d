"""What stands where on a page: functions that set a sheet, in the order in which it is read."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from .sheets import HEADING, Sheet, wrapped

NARROWEST = 11  # ems in a column: some 24 characters


def one_column(sheet: Sheet) -> None:
    """A heading and paragraphs."""
    left, width = sheet.margin, sheet.width - 2 * sheet.margin
    justified = sheet.random.random() < 0.5
    top = _heading(sheet, left, sheet.margin, width)
    _column(sheet, left, top, width, justified=justified)


def two_columns(sheet: Sheet) -> None:
    """Two columns of one width."""
    _columns(sheet, sheet.margin, [1, 1])


def three_columns(sheet: Sheet) -> None:
    """Three columns of one width."""
    _columns(sheet, sheet.margin, [1, 1, 1])


def unequal_columns(sheet: Sheet) -> None:
    """A wide column and a narrow one."""
    shares = [1.9, 1]
    sheet.random.shuffle(shares)
    _columns(sheet, sheet.margin, shares)


def headline_across(sheet: Sheet) -> None:
    """A headline over the whole width, and columns below it."""
    width = sheet.width - 2 * sheet.margin
    scale = sheet.random.uniform(2, 3)
    title = sheet.writer.title(4)
    font = sheet.font(scale * sheet.room(title, width, scale), bold=True)
    top = sheet.paragraph(
        title, sheet.margin, sheet.margin, width, font=font, leading=1.1, kind=HEADING
    )
    _columns(sheet, top + sheet.size, [1] * sheet.random.choice((2, 3)))


def beside_picture(sheet: Sheet) -> None:
    """Text, a picture with a caption in it, and text around the picture."""
    left, width = sheet.margin, sheet.width - 2 * sheet.margin
    top = _heading(sheet, left, sheet.margin, width)
    narrow = 0.52 * width
    height = min(0.38 * sheet.height, 0.9 * (width - narrow))
    at_left = sheet.random.random() < 0.5
    gap = 1.6 * sheet.size
    x = left if at_left else left + narrow + gap
    _picture(sheet, x, top, width - narrow - gap, height)
    text_left = left + width - narrow if at_left else left
    below = _column(sheet, text_left, top, narrow, bottom=top + height)
    _column(sheet, left, max(below, top + height) + sheet.size, width)


def table(sheet: Sheet) -> None:
    """A paragraph, and a table with a rule around each cell, read row by row."""
    left, width = sheet.margin, sheet.width - 2 * sheet.margin
    top = sheet.paragraph(sheet.writer.text(200), left, sheet.margin, width)
    top += sheet.size
    columns = 3
    pitch = 2.0 * sheet.size
    cell = width / columns
    rows = max(min(int((sheet.height - top - sheet.margin) / pitch) - 1, 14), 2)
    font, bold = sheet.font(), sheet.font(bold=True)
    sheet.begin()
    for row in range(rows):
        for column in range(columns):
            text = sheet.writer.number() if column and row else sheet.writer.noun().title()
            baseline = top + row * pitch + 1.35 * sheet.size
            sheet.set_line(
                text, left + column * cell + 0.6 * sheet.size, baseline, font if row else bold
            )
    for row in range(rows + 1):
        sheet.rule(left, top + row * pitch, left + width, top + row * pitch, 0.6)
    for column in range(columns + 1):
        x = left + column * cell
        sheet.rule(x, top, x, top + rows * pitch, 0.6)


def initial(sheet: Sheet) -> None:
    """Paragraphs, the first with an initial three lines high."""
    left, width = sheet.margin, sheet.width - 2 * sheet.margin
    top = _heading(sheet, left, sheet.margin, width)
    text = sheet.writer.text(380)
    first, rest = text[0], text[1:].lstrip()
    leading = 1.3 * sheet.size
    capital = -sheet.face.font(100).getbbox("H", anchor="ls")[1] / 100
    font = sheet.face.font((2 * leading + capital * sheet.size) / capital)
    sheet.begin("drop-capital")
    baseline = top + 0.8 * sheet.size + 2 * leading
    sheet.set_ink_line(first, left, baseline, font)
    indent = font.getbbox(first, anchor="ls")[2] + 0.5 * sheet.size
    top = sheet.paragraph(rest, left, top, width, indents=[indent] * 3)
    _column(sheet, left, top + 0.5 * sheet.size, width)


def footnotes(sheet: Sheet) -> None:
    """Text with a running head and a page number, and small notes below a short rule."""
    left, width = sheet.margin, sheet.width - 2 * sheet.margin
    font = sheet.font(0.85, italic=True)
    head = sheet.writer.title(3)
    top = sheet.paragraph(head, left, sheet.margin, width, font=font, align="center", kind="header")
    small = sheet.font(0.78)
    notes = [f"{n}. {sheet.writer.text(70)}" for n in (1, 2)]
    count = sum(len(wrapped(note, small, width)) for note in notes)
    notes_top = sheet.height - sheet.margin - (count * 1.2 + 3) * small.size
    _column(sheet, left, top + sheet.size, width, bottom=notes_top - sheet.size)
    sheet.rule(left, notes_top, left + 0.3 * width, notes_top, 0.5)
    top = notes_top + 0.5 * small.size
    for note in notes:
        top = sheet.paragraph(
            note, left, top, width, font=small, leading=1.2, kind="footnote", bottom=sheet.height
        )
    number = str(sheet.random.randint(11, 480))
    sheet.paragraph(
        number,
        left,
        top + 0.6 * small.size,
        width,
        font=small,
        align="center",
        kind="page-number",
        bottom=sheet.height,
    )


def dark_banner(sheet: Sheet) -> None:
    """A dark band with a light title, and text below."""
    left, width = sheet.margin, sheet.width - 2 * sheet.margin
    font = sheet.font(sheet.random.uniform(1.4, 2.2), bold=True)
    high = 2.4 * font.size
    dark = sheet.random.randint(10, 90)
    edge = left if sheet.random.random() < 0.5 else 0
    sheet.draw.rectangle(
        (edge, sheet.margin, sheet.width - edge - 1, sheet.margin + high), fill=dark
    )
    sheet.ink = sheet.random.randint(225, 255)
    title = sheet.writer.title(2)
    x, top = left + font.size, sheet.margin + 0.72 * font.size
    sheet.paragraph(title, x, top, width, font=font, kind=HEADING, bottom=sheet.margin + high)
    sheet.ink = 0
    _column(sheet, left, sheet.margin + high + sheet.size, width)


def light_on_dark(sheet: Sheet) -> None:
    """A dark page with light text."""
    dark = sheet.random.randint(10, 70)
    sheet.draw.rectangle((0, 0, sheet.width, sheet.height), fill=dark)
    sheet.ink = sheet.random.randint(215, 255)
    one_column(sheet)


def mixed_sizes(sheet: Sheet) -> None:
    """Words of up to 300 pixels, lines of all sizes, and the small print."""
    left, width = sheet.margin, sheet.width - 2 * sheet.margin
    top = sheet.margin
    for share in (1, 0.45, 0.2, 0.11):
        text = sheet.writer.noun().upper() if share == 1 else sheet.writer.title(2)
        size = min(300, share * 300, 0.9 * width / sheet.face.font(100).getlength(text) * 100)
        size = max(size, 9)
        font = sheet.face.font(size, bold=share > 0.3)
        top = sheet.paragraph(text, left, top, width, font=font, leading=1.2, kind=HEADING)
    for scale in (1.3, 1, 0.8):
        text = sheet.writer.text(150)
        top += 0.6 * sheet.size
        top = sheet.paragraph(text, left, top, width, font=sheet.font(scale))


def tight_leading(sheet: Sheet) -> None:
    """Lines that are set closer than the type is high, some of which touch."""
    left, width = sheet.margin, sheet.width - 2 * sheet.margin
    leading = sheet.random.uniform(0.88, 0.98)
    top = sheet.margin
    while top < 0.75 * sheet.height:
        text = sheet.writer.text(320)
        below = sheet.paragraph(text, left, top, width, leading=leading)
        if below == top:
            break
        top = below + 1.1 * sheet.size


def italics(sheet: Sheet) -> None:
    """Paragraphs in italics."""
    left, width = sheet.margin, sheet.width - 2 * sheet.margin
    top = sheet.margin
    while top < sheet.height - sheet.margin - 2 * sheet.size:
        text = sheet.writer.text(260)
        below = sheet.paragraph(text, left, top, width, font=sheet.font(italic=True))
        top = below + 0.5 * sheet.size


def letter(sheet: Sheet) -> None:
    """A letter: sender at the right, address, date, text, signature."""
    left, width = sheet.margin, sheet.width - 2 * sheet.margin
    writer = sheet.writer
    top = sheet.paragraph(
        f"{writer.person()}", left, sheet.margin, width, align="right", kind="header"
    )
    number = sheet.random.randint(2, 190)
    for text in (writer.person(), f"{number} {writer.noun().title()} Street"):
        top = sheet.paragraph(text, left, top, width)
    top = sheet.paragraph(writer.date(), left, top + sheet.size, width)
    top = sheet.paragraph(f"Dear {writer.person()},", left, top + sheet.size, width)
    bottom = sheet.height - sheet.margin - 4 * sheet.size
    top = _column(sheet, left, top + 0.5 * sheet.size, width, bottom=bottom, most=3)
    sheet.paragraph("Yours truly,", left, top + 0.7 * sheet.size, width)


def rules_across(sheet: Sheet) -> None:
    """Paragraphs between rules that cross the page from edge to edge, and one rule down it."""
    left, width = sheet.margin, sheet.width - 2 * sheet.margin
    top = sheet.margin
    while top < sheet.height - sheet.margin - 3 * sheet.size:
        below = sheet.paragraph(sheet.writer.text(150), left, top, width)
        if below == top:
            break
        y = below + 0.4 * sheet.size
        sheet.rule(0, y, sheet.width, y, sheet.random.uniform(0.4, 1.6))
        top = y + 0.8 * sheet.size
    x = sheet.random.choice((0.35, 0.65)) * sheet.margin
    sheet.rule(x, 0, x, sheet.height, 0.6)


def few_lines(sheet: Sheet) -> None:
    """Two to four short lines on an empty page."""
    left = sheet.margin + sheet.random.uniform(0, 0.2) * sheet.width
    top = sheet.random.uniform(0.15, 0.5) * sheet.height
    width = sheet.width - sheet.margin - left
    for _ in range(sheet.random.randint(2, 4)):
        top = sheet.paragraph(sheet.writer.title(3), left, top, width, leading=1.5)


def contents(sheet: Sheet) -> None:
    """A table of contents: each entry a line with dots up to its number."""
    left, width = sheet.margin, sheet.width - 2 * sheet.margin
    font = sheet.font()
    top = _heading(sheet, left, sheet.margin, width)
    baseline, page = top + sheet.size, 1
    sheet.begin()
    while baseline < sheet.height - sheet.margin:
        title = sheet.writer.title(sheet.random.randint(2, 3))
        page += sheet.random.randint(2, 19)
        text = f"{title} {page}"
        dots = int((width - font.getlength(f"{text} ")) / font.getlength("."))
        if dots > 3:
            sheet.set_line(f"{title} {'.' * min(dots, 12)} {page}", left, baseline, font)
        baseline += 1.45 * sheet.size


def items(sheet: Sheet) -> None:
    """A numbered list, its lines indented but for the first of each item."""
    left, width = sheet.margin, sheet.width - 2 * sheet.margin
    top = _heading(sheet, left, sheet.margin, width)
    hanging = 1.8 * sheet.size
    for number in range(1, 40):
        text = f"{number}. {sheet.writer.text(sheet.random.randint(30, 130))}"
        indents = [0.0] + [hanging] * 9
        below = sheet.paragraph(text, left, top, width, indents=indents, leading=1.25)
        if below == top:
            break
        top = below + 0.35 * sheet.size


def verse(sheet: Sheet) -> None:
    """A title in the middle, and stanzas of short lines."""
    width = sheet.width - 2 * sheet.margin
    title = sheet.writer.title(2)
    font = sheet.font(1.3, italic=True)
    top = sheet.paragraph(
        title, sheet.margin, sheet.margin, width, font=font, align="center", kind=HEADING
    )
    left, plain = sheet.margin + sheet.random.uniform(0.05, 0.3) * width, sheet.font()
    room = sheet.width - sheet.margin - left
    baseline = top + 2 * sheet.size
    while baseline + 4.5 * sheet.size < sheet.height - sheet.margin:
        sheet.begin()
        for number in range(4):
            line = wrapped(sheet.writer.text(24), plain, room - sheet.size)[0][0]
            sheet.set_line(line, left + (number % 2) * sheet.size, baseline, plain)
            baseline += 1.3 * sheet.size
        baseline += 0.9 * sheet.size


def title_page(sheet: Sheet) -> None:
    """A title, author and place, each in the middle and in a size of its own."""
    width = sheet.width - 2 * sheet.margin
    writer, top = sheet.writer, sheet.margin + 0.1 * sheet.height
    for scale, text in (
        (2.6, f"The {writer.title(2)}"),
        (1.0, "or"),
        (1.5, f"A {writer.title(3)}"),
        (1.0, f"by {writer.person()}"),
        (0.8, f"Printed for {writer.person()}, {writer.date()}"),
    ):
        fitting = scale * sheet.room(text, width, scale)
        font = sheet.font(fitting, bold=scale > 2, italic=scale == 1.5)
        below = sheet.paragraph(
            text, sheet.margin, top, width, font=font, align="center", kind=HEADING, leading=1.2
        )
        top = below + sheet.random.uniform(0.8, 2.5) * sheet.size


def spread(sheet: Sheet) -> None:
    """Two facing pages with their numbers, and the shade of the fold between them."""
    middle, low = sheet.width / 2, sheet.height - sheet.margin
    inner = 0.09 * sheet.width
    width = middle - sheet.margin - inner
    sheet.size = min(sheet.size, width / NARROWEST)
    number = 2 * sheet.random.randint(5, 240)
    for page, left in enumerate((sheet.margin, middle + inner)):
        _column(sheet, left, sheet.margin, width, bottom=low - 2 * sheet.size, justified=True)
        sheet.begin("page-number")
        x = left if page == 0 else left + width - 2 * sheet.size
        sheet.set_line(str(number + page), x, low, sheet.font(0.85))
    shade = Image.linear_gradient("L").rotate(90).resize((round(0.5 * inner), sheet.height))
    shade = shade.point([255 - (255 - value) * 5 // 8 for value in range(256)])
    for picture, x in ((ImageOps.mirror(shade), middle - shade.width), (shade, middle)):
        area = round(x), 0, round(x) + shade.width, sheet.height
        sheet.image.paste(ImageChops.multiply(sheet.image.crop(area), picture), area)


def form(sheet: Sheet) -> None:
    """Labels, each with a rule to write on, and a frame around all."""
    left, width = sheet.margin, sheet.width - 2 * sheet.margin
    top = _heading(sheet, left, sheet.margin, width)
    font, baseline = sheet.font(), top + 1.6 * sheet.size
    edge = 0.6 * sheet.margin
    sheet.begin()
    while baseline < sheet.height - sheet.margin:
        text = f"{sheet.writer.title(2)}:"
        sheet.set_line(text, left, baseline, font)
        start = left + font.getlength(text) + sheet.size
        if start < left + 0.9 * width:
            sheet.rule(start, baseline + 1, left + width, baseline + 1, 0.5)
        baseline += 2.1 * sheet.size
    far = sheet.width - edge, sheet.height - edge
    sheet.draw.rectangle((edge, edge, *far), outline=0, width=max(round(sheet.point), 1))


def ruled_columns(sheet: Sheet) -> None:
    """Two columns with a rule between them."""
    _columns(sheet, sheet.margin, [1, 1], ruled=True)


def boxed(sheet: Sheet) -> None:
    """Paragraphs, one in a frame and one on grey."""
    left, width = sheet.margin, sheet.width - 2 * sheet.margin
    top, inset = sheet.margin, 0.8 * sheet.size
    for fill in (None, 255, 195, None):
        text = sheet.writer.text(sheet.random.randint(90, 220))
        lines = len(wrapped(text, sheet.font(), width - 2 * inset))
        below = top + (1.3 * lines - 0.3) * sheet.size + 2 * inset
        if below > sheet.height - sheet.margin:
            sheet.paragraph(text, left, top, width)
            break
        if fill is not None:
            line = max(round(sheet.point), 1)
            sheet.draw.rectangle(
                (left, top, left + width, below), fill=fill, outline=0, width=line * (fill == 255)
            )
        sheet.paragraph(text, left + inset, top + inset, width - 2 * inset, bottom=below)
        top = below + sheet.size


def underlined(sheet: Sheet) -> None:
    """Headings with a rule close beneath them, and paragraphs."""
    left, width = sheet.margin, sheet.width - 2 * sheet.margin
    top, font = sheet.margin, sheet.font(1.3, bold=True)
    while True:
        title = wrapped(sheet.writer.title(3), font, width)[0][0]
        below = sheet.paragraph(title, left, top, width, font=font, kind=HEADING)
        if below == top:
            break
        y = below - 0.38 * font.size
        sheet.rule(left, y, left + font.getlength(title), y, 0.9)
        top = _column(sheet, left, below + 0.3 * sheet.size, width, most=1) + 0.8 * sheet.size


def nothing(sheet: Sheet) -> None:
    """An empty page, or one with a picture alone."""
    if sheet.random.random() < 0.5:
        wide = sheet.width - 4 * sheet.margin
        _picture(sheet, 2 * sheet.margin, 2 * sheet.margin, wide, 0.4 * sheet.height)


LAYOUTS: dict[str, Callable[[Sheet], None]] = {
    function.__name__: function
    for function in (
        one_column,
        two_columns,
        three_columns,
        unequal_columns,
        headline_across,
        beside_picture,
        table,
        initial,
        footnotes,
        dark_banner,
        light_on_dark,
        mixed_sizes,
        tight_leading,
        italics,
        letter,
        rules_across,
        few_lines,
        contents,
        items,
        verse,
        title_page,
        spread,
        form,
        ruled_columns,
        boxed,
        underlined,
        nothing,
    )
}


def _heading(sheet: Sheet, left: float, top: float, width: float) -> float:
    """A bold heading; where the text below it may begin."""
    font = sheet.font(sheet.random.uniform(1.2, 1.9), bold=True)
    below = sheet.paragraph(sheet.writer.title(3), left, top, width, font=font, kind=HEADING)
    return below + 0.4 * sheet.size


def _column(
    sheet: Sheet,
    left: float,
    top: float,
    width: float,
    *,
    bottom: float | None = None,
    justified: bool = False,
    most: int = 99,
) -> float:
    """Paragraphs down to the bottom; where the last one ends."""
    bottom = sheet.height - sheet.margin if bottom is None else bottom
    gap = sheet.random.choice((0.0, 0.6)) * sheet.size
    indent = 0.0 if gap else 1.5 * sheet.size
    leading = sheet.random.uniform(1.2, 1.5)
    for _ in range(most):
        text = sheet.writer.text(sheet.random.randint(120, 420))
        below = sheet.paragraph(
            text,
            left,
            top,
            width,
            bottom=bottom,
            leading=leading,
            justified=justified,
            indents=[indent],
        )
        if below == top:
            break
        top = below + gap
    return top


def _columns(sheet: Sheet, top: float, shares: list[float], *, ruled: bool = False) -> None:
    """Columns of text, one after the other; shares -- of the width. ruled -- with rules between."""
    gap = sheet.random.uniform(1.4, 2.4) * sheet.size
    whole = sheet.width - 2 * sheet.margin - gap * (len(shares) - 1)
    narrowest = whole * min(shares) / sum(shares)
    sheet.size = min(sheet.size, narrowest / NARROWEST)
    left = sheet.margin
    justified = sheet.random.random() < 0.6
    for share in shares:
        width = whole * share / sum(shares)
        _column(sheet, left, top, width, justified=justified)
        left += width + gap
        if ruled and left < sheet.width - sheet.margin:
            x = left - gap / 2
            sheet.rule(x, top, x, sheet.height - sheet.margin, 0.6)


def _picture(sheet: Sheet, left: float, top: float, width: float, height: float) -> None:
    """A grey picture of hills, a sun and grain, as a halftone photograph looks."""
    size = max(round(width), 8), max(round(height), 8)
    shades = [110 + value // 2 for value in range(256)]
    picture = Image.linear_gradient("L").resize(size).point(shades)
    draw = ImageDraw.Draw(picture)
    for shade in (150, 110, 70):
        for _ in range(3):
            x = sheet.random.uniform(0, size[0])
            wide, y = sheet.random.uniform(0.2, 0.5) * size[0], (1.3 - shade / 200) * size[1]
            draw.ellipse((x - wide, y, x + wide, y + size[1]), fill=shade)
    radius, x = 0.12 * size[1], sheet.random.uniform(0.2, 0.8) * size[0]
    draw.ellipse((x - radius, 0.2 * size[1] - radius, x + radius, 0.2 * size[1] + radius), fill=250)
    picture = picture.filter(ImageFilter.GaussianBlur(0.01 * size[0]))
    sheet.image.paste(picture, (round(left), round(top)))
