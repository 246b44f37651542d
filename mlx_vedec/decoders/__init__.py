"""Text decoders by Hugging Face's model type."""

from __future__ import annotations

from typing import Any

from .bart import TrOCRForCausalLM
from .decoder import Decoder

DECODERS: dict[str, type[Decoder[Any]]] = {"trocr": TrOCRForCausalLM}
