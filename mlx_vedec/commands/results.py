"""What `mlx_vedec generate` prints of results: texts, JSON, warnings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..errors import counted
from .common import say

if TYPE_CHECKING:
    from ..reading.parts import Part
    from ..reading.results import GenerationResult


def warn(program: str, source: str, result: GenerationResult, *, asked: bool) -> None:
    """Say of a text that it did not end by itself, unless that was asked for."""
    reasons = {
        "length": f"was cut after {_tokens(result)}, where there is no more room",
        "repetition": "runs in circles and was cut there",
    }
    reason = reasons.get(result.finish_reason or "")
    if reason and not (asked and result.finish_reason == "length"):
        say(f"{program}: warning: the text of {source} {reason}")


def _tokens(result: GenerationResult) -> str:
    return counted(result.generation_tokens, "token")


def as_text(result: GenerationResult) -> str:
    """The text of a result for stdout, or its data as JSON where it has some."""
    if result.data is None:
        return result.text
    return json.dumps(result.data, ensure_ascii=False)


def as_json(source: str, result: GenerationResult) -> str:
    """A result as one line of JSON."""
    values = {
        "image": source,
        "text": result.text,
        "confidence": round(result.confidence, 6),
        "tokens": result.tokens,
        "finish_reason": result.finish_reason,
        "box": result.box,
    }
    if result.data is not None:
        values["data"] = result.data
    if result.parts:
        name = "lines" if result.data is None else "fields"
        values[name] = [_part(part) for part in result.parts]
    if result.boxes:
        values["boxes"] = [vars(word) for word in result.boxes]
    if result.alternatives:
        values["alternatives"] = [
            {"text": other.text, "confidence": round(other.confidence, 6), "score": other.score}
            for other in result.alternatives
        ]
    return json.dumps(values, ensure_ascii=False)


def _part(part: Part) -> dict[str, Any]:
    """A part of a result, a field or a line, as JSON; name and box only where it has them."""
    values = {**vars(part), "confidence": round(part.confidence, 6)}
    return {key: value for key, value in values.items() if value not in ("", None) or key == "text"}


def report(source: str, result: GenerationResult) -> None:
    """Say on stderr how fast a text came, and how sure it is."""
    say(
        f"{source}: {_tokens(result)}, {result.generation_tps:.1f} tokens/s, "
        f"confidence {result.confidence:.3f}, peak memory {result.peak_memory:.3f} GB"
    )
