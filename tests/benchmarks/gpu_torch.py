"""The other side of `tests/benchmarks/gpu.py`: torch and transformers, without MLX."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import torch
import transformers

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"


class Side:
    """A model of a config, and its tasks."""

    model: Any
    dtype: torch.dtype

    def about(self) -> str:
        """Device and versions."""
        name = torch.cuda.get_device_name() if GPU else "cpu"
        return f"{name}, torch {torch.__version__}, transformers {transformers.__version__}"

    def make(self, config: dict[str, Any], dtype: str) -> None:
        """Make a model, in place of the one before."""
        self.model = None
        self.dtype = getattr(torch, dtype)
        torch.manual_seed(0)
        made = transformers.VisionEncoderDecoderConfig.from_dict(config)
        with torch.device(DEVICE):
            model: Any = transformers.VisionEncoderDecoderModel(made)
        self.model = model.to(self.dtype).eval()
        self.model.generation_config.eos_token_id = None

    def task(self, name: str, images: int, tokens: int, beams: int) -> float:
        """Seconds that a task takes, its pixels made before."""
        size = self.model.config.encoder.image_size
        height, width = (size, size) if isinstance(size, int) else size
        pixels = torch.randn(images, 3, height, width, device=DEVICE).to(self.dtype)
        self.wait()
        start = time.perf_counter()
        if tokens:
            self.model.generate(
                pixels,
                max_new_tokens=tokens,
                num_beams=beams,
                do_sample=False,
                decoder_start_token_id=2,
                pad_token_id=1,
            )
        else:
            self.model.encoder(pixels)
        self.wait()
        return time.perf_counter() - start

    def wait(self) -> None:
        """Until the GPU has done what it was given."""
        if GPU:
            torch.cuda.synchronize()


def main() -> None:
    """Answer every line until there are no more."""
    side = Side()
    verbs = {"about": side.about, "model": side.make, "task": side.task}
    with torch.inference_mode():
        for line in sys.stdin:
            call = json.loads(line)
            print(json.dumps(verbs[call.pop("what")](**call)), flush=True)


if __name__ == "__main__":
    main()
