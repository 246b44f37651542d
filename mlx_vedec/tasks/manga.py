"""manga-ocr's last step: Japanese text without spaces, every character at its full width.

Other checkpoints want another last step: what ko-trocr reads are single jamo, which
`unicodedata.normalize("NFC", text)` joins to syllables.
"""

from __future__ import annotations

import re
import unicodedata

DOTS = re.compile("[・.]{2,}")
# The half-width kana that a voicing mark, which is a character of its own, makes another kana.
MARKED = re.compile("[ｳｶ-ﾄﾊ-ﾎ]ﾞ|[ﾊ-ﾎ]ﾟ")
FULL_WIDTH = {
    0x20: 0x3000,
    **{half: half + 0xFEE0 for half in range(0x21, 0x7F)},
    **{half: unicodedata.normalize("NFKC", chr(half)) for half in range(0xFF61, 0xFF9E)},
}


def post_process(text: str) -> str:
    """The text without white space, dots in their number, all at full width.

    An ellipsis is three dots, and so are three of the dots that stand between words.

    >>> post_process("あ れ … それは ABC-12 ・・・ｶﾞﾝ!")
    'あれ．．．それはＡＢＣ－１２．．．ガン！'
    """
    text = "".join(text.split()).replace("…", "...")
    return full_width(DOTS.sub(lambda run: "." * len(run.group()), text))


def full_width(text: str) -> str:
    """Half-width characters as full-width ones, what jaconv's `h2z(ascii=True, digit=True)` does.

    These are all of ASCII that can be printed, the space too, and half-width katakana with their
    punctuation. A voicing mark joins the kana before it where カ to ト, ハ to ホ and ウ have a
    voiced form; one that stands elsewhere stays half-width.

    >>> full_width("ﾊﾟﾝ 100%")
    'パン　１００％'
    """
    joined = MARKED.sub(lambda pair: unicodedata.normalize("NFKC", pair.group()), text)
    return joined.translate(FULL_WIDTH)
