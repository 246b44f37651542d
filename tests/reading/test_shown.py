"""How processors, results and pages show themselves, in notebooks too."""

from __future__ import annotations

from dataclasses import replace

import mlx_vedec
from mlx_vedec.errors import ImageError
from mlx_vedec.pages.layout import Line, Region
from mlx_vedec.pages.page import Page

HOSTILE = "<script>alert('a')</script> & so"
ESCAPED = "&lt;script&gt;alert(&#x27;a&#x27;)&lt;/script&gt; &amp; so"


def test_a_processor_says_what_it_is():
    _, processor = mlx_vedec.load(lazy=True)
    assert repr(processor) == (
        "Processor(ViTImageProcessor to 32x768, lines of 24:1, a tokenizer of "
        f"{len(processor.tokenizer)} tokens)"
    )
    assert repr(mlx_vedec.Processor()) == "Processor(no image processor, no tokenizer)"


def test_a_result_in_a_notebook():
    result = mlx_vedec.GenerationResult(
        text=HOSTILE, tokens=(1, 2), token_logprobs=(0.0, 0.0), finish_reason="stop"
    )
    assert result._repr_html_() == (f"<pre>{ESCAPED}</pre>\n<p>confidence 1.00, 2 tokens, stop</p>")
    assert "&quot;&lt;b&gt;&quot;" in replace(result, data={"<b>": HOSTILE})._repr_html_()
    failed = mlx_vedec.GenerationResult(error=ImageError(HOSTILE))
    assert failed._repr_html_() == f"<p>error: {ESCAPED}</p>"


def test_a_page_in_a_notebook():
    lines = Line(HOSTILE, (2, 2, 30, 10), confidence=0.5), Line("tea", (2, 12, 30, 20))
    page = Page(regions=(Region(lines),), size=(40, 30), name="<a>.png")
    assert repr(page) == "Page('<a>.png', 40x30, 2 lines in 1 regions, confidence 0.50)"
    shown = page._repr_html_()
    assert f"<pre>{ESCAPED}\ntea</pre>" in shown
    assert "<script" not in shown and "<a>" not in shown
    assert shown.startswith('<img src="data:image/png;base64,iVBOR')
    failed = Page(name="a.png", error=ImageError(HOSTILE))
    assert repr(failed) == f"Page('a.png', error: {HOSTILE})"
    assert failed._repr_html_() == f"<p>Page(&#x27;a.png&#x27;, error: {ESCAPED})</p>"
