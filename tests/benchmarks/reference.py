"""transformers in a process of its own, where torch keeps the BLAS that it was built with.

Here OpenBLAS would take the place of torch's. The other end of `Reference`: a line of JSON in for
every line out.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from . import ONE_THREAD, clock


class Reference:
    """A model of transformers: TrOCR's decoder with `layers`, or a folder's in a type."""

    def __init__(self, **model: Any) -> None:
        command = [sys.executable, "-m", __name__, json.dumps(model), "--blas", "none"]
        command += ["--cpu"] if ONE_THREAD else []
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def ask(self, **call: Any) -> Any:
        """What the other end's `step` or `read` says."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps(call), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


class Decoder:
    """TrOCR-base's decoder on random features (1, 577, 768)."""

    def __init__(self, layers: int) -> None:
        import torch
        from transformers import (
            TrOCRConfig,
            VisionEncoderDecoderConfig,
            VisionEncoderDecoderModel,
            ViTConfig,
        )

        config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
            ViTConfig(num_hidden_layers=1),
            TrOCRConfig(decoder_layers=layers, cross_attention_hidden_size=768),
        )
        self.model: Any = VisionEncoderDecoderModel(config).eval()
        self.model.generation_config.eos_token_id = None
        self.features = torch.randn(1, 577, 768)

    def __call__(self, *, steps: int, rows: int = 1, beams: int = 1) -> float:
        """Seconds of the middle one of so many steps, the first aside."""
        from transformers.modeling_outputs import BaseModelOutput

        times: list[float] = []

        def note(tokens: Any, scores: Any, **kwargs: Any) -> Any:
            times.append(clock())
            return tokens[:, 0] < 0  # never ends

        self.model.generate(
            encoder_outputs=BaseModelOutput(self.features.repeat(rows, 1, 1)),
            stopping_criteria=[note],
            max_new_tokens=steps + 1,
            num_beams=beams,
            do_sample=False,
            decoder_start_token_id=2,
            pad_token_id=1,
        )
        return sorted(b - a for a, b in zip(times, times[1:], strict=False))[steps // 2]


class Folder:
    """A checkpoint from image file to text, as transformers' documents do it."""

    def __init__(self, folder: str, dtype: str | None = None) -> None:
        from transformers import AutoImageProcessor, AutoTokenizer, VisionEncoderDecoderModel

        model: Any = VisionEncoderDecoderModel.from_pretrained(folder, dtype=dtype or "auto")
        self.model = model.eval()
        self.pixels = AutoImageProcessor.from_pretrained(folder)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def __call__(self, image: str) -> dict[str, Any]:
        """Seconds, tokens after the start token and text of an image file."""
        from PIL import Image

        start = clock()
        picture = Image.open(image).convert("RGB")
        pixels = self.pixels(picture, return_tensors="pt").pixel_values.to(self.model.dtype)
        tokens = self.model.generate(pixels)
        text = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)[0]
        seconds = clock() - start
        return {"seconds": seconds, "tokens": tokens[0, 1:].tolist(), "text": text}


def main() -> None:
    """Answer every line until there are no more."""
    import torch

    model = json.loads(sys.argv[1])
    answer = Folder(**model) if "folder" in model else Decoder(**model)
    with torch.inference_mode():
        for line in sys.stdin:
            print(json.dumps(answer(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
