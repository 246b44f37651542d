"""manga-ocr's last step: what it does to each character, and to real vocabulary."""

from __future__ import annotations

import unicodedata

import pytest

from mlx_vedec.tasks.manga import full_width, post_process


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("あ い　う\nえ", "あいうえ"),
        ("え…", "え．．．"),
        ("え・・・・", "え．．．．"),
        ("え・.・", "え．．．"),
        ("ア・イ", "ア・イ"),
        ("…・", "．．．．"),
        ("a.", "ａ．"),
        ("Ab9!?~\\", "Ａｂ９！？～＼"),
        ("ｶﾞｷﾞﾊﾟｳﾞ｡｢｣､･ｰ", "ガギパヴ。「」、・ー"),
        ("･･", "・・"),  # half-width dots become full-width ones after the dots are counted
        ("ｱﾞﾜﾞｦﾞﾞ", "アﾞワﾞヲﾞﾞ"),
        ("漢字ｶナ①", "漢字カナ①"),
    ],
)
def test_post_process(text, expected):
    assert post_process(text) == expected


def test_each_half_width_character():
    for code in [*range(0x20, 0x7F), *range(0xFF61, 0xFF9E)]:
        wide = full_width(chr(code))
        assert unicodedata.normalize("NFKC", wide) == unicodedata.normalize("NFKC", chr(code))
        assert unicodedata.east_asian_width(wide) in "FW"
    others = [chr(c) for c in range(0x110000) if not (0x20 <= c < 0x7F or 0xFF61 <= c < 0xFF9E)]
    assert all(full_width(block) == block for block in map("".join, _blocks(others)))


def _blocks(characters, size=4096):
    """So few at a time that no voicing mark follows a half-width kana: those are left out."""
    return [characters[i : i + size] for i in range(0, len(characters), size)]


def test_like_jaconv():
    jaconv = pytest.importorskip("jaconv")
    halves = [chr(c) for c in [*range(0x20, 0x7F), *range(0xFF61, 0xFFA0)]]
    for text in [*halves, *(a + b for a in halves for b in "ﾞﾟ")]:
        assert full_width(text) == jaconv.h2z(text, ascii=True, digit=True)


def test_the_real_vocabulary_comes_out_at_full_width(shared):
    words = (shared / "tokenizers" / "manga-ocr" / "vocab.txt").read_text(encoding="utf-8")
    assert not set(post_process(words)) & set(map(chr, range(0x21, 0x7F)))
