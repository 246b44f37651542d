"""The other ends of `peers`: each runs one library in a process of its own.

A line of JSON comes first, with the library's version or why it is missing; then one for every line
that is asked.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

from . import ONE_THREAD, Clocks, clock

STEPS = 8  # of a decoding, of which the middle one counts


class Peer:
    """A library behind a pipe: `version`, or the reason why it is `missing`.

    python -- the interpreter that has it. blas -- of `LIBRARIES`. module -- where it is begun
    """

    def __init__(
        self,
        name: str,
        python: str = sys.executable,
        blas: str = "none",
        module: str = __name__,
        **model: Any,
    ):
        command = [python, "-m", module, json.dumps({"name": name, **model}), "--blas", blas]
        command += ["--cpu"] if ONE_THREAD else []
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        said = self._line()
        self.name, self.version, self.missing = name, said.get("version"), said.get("missing")

    def ask(self, **call: Any) -> dict[str, Any]:
        """What the other end answers: `seconds`; for a folder's model `processor` and `tokens`."""
        assert self.process.stdin is not None
        print(json.dumps(call), file=self.process.stdin, flush=True)
        return self._line()

    def _line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"missing": "the process has died"}

    def close(self) -> None:
        """Let the process end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def transformers(folder: str) -> Callable[..., dict[str, Any]]:
    """A folder's model on torch, in float32."""
    import torch
    from transformers import VisionEncoderDecoderModel

    model: Any = VisionEncoderDecoderModel.from_pretrained(folder, dtype=torch.float32)
    return _reader(model.eval(), lambda pixels: model.encoder(pixels))


def optimum(folder: str) -> Callable[..., dict[str, Any]]:
    """The same, exported to ONNX by optimum and run by ONNX Runtime."""
    import onnxruntime  # pyright: ignore
    from optimum.onnxruntime import ORTModelForVision2Seq  # pyright: ignore

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1 if ONE_THREAD else os.cpu_count()
    model = ORTModelForVision2Seq.from_pretrained(folder, export=True, session_options=options)
    return _reader(model, lambda pixels: model.encoder(pixel_values=pixels))


def _reader(model: Any, encode: Callable[[Any], Any]) -> Callable[..., dict[str, Any]]:
    """Encodes the first rows of pixels (B, 3, H, W) in a file, or decodes them by options."""
    import numpy as np
    import torch

    def read(pixels: str, rows: int, **options: Any) -> dict[str, Any]:
        given = torch.from_numpy(np.load(pixels)[:rows])
        clocks = Clocks()
        with torch.inference_mode():
            if not options:
                encode(given)
                return clocks.seconds()
            tokens = model.generate(given, do_sample=False, **options)
        return {**clocks.seconds(), "tokens": tokens.tolist()}

    return read


def florence(layers: int, dims: int, heads: int, source: int, vocabulary: int) -> Any:
    """The decoder of mlx-vlm's Florence-2."""
    import mlx.core as mx
    from mlx_vlm.models.cache import CacheList, SimpleKVCache  # pyright: ignore
    from mlx_vlm.models.florence2 import LanguageModel, TextConfig  # pyright: ignore

    config = TextConfig(
        d_model=dims,
        vocab_size=vocabulary,
        encoder_layers=1,
        decoder_layers=layers,
        decoder_attention_heads=heads,
        decoder_ffn_dim=4 * dims,
    )
    model = LanguageModel(config)
    model.eval()
    mx.eval(model.parameters())

    def begin(rows: int) -> Callable[[Any], Any]:
        cache = [CacheList(SimpleKVCache(), SimpleKVCache()) for _ in range(layers)]
        features = mx.random.normal((rows, source, dims))
        return lambda tokens: (
            model(decoder_input_ids=tokens, encoder_outputs=features, cache=cache).logits
        )

    return _stepper(begin)


def whisper(layers: int, dims: int, heads: int, source: int, vocabulary: int) -> Any:
    """The text decoder of mlx-whisper."""
    import mlx.core as mx
    from mlx_whisper.whisper import TextDecoder  # pyright: ignore

    model = TextDecoder(vocabulary, 512, dims, heads, layers, mx.float32)
    model.eval()
    mx.eval(model.parameters())

    def begin(rows: int) -> Callable[[Any], Any]:
        features, kept = mx.random.normal((rows, source, dims)), []

        def step(tokens: Any) -> Any:
            logits, cache, _ = model(tokens, features, kv_cache=kept[0] if kept else None)
            kept[:] = [cache]
            return logits

        return step

    return _stepper(begin)


def _stepper(begin: Callable[[int], Callable[[Any], Any]]) -> Callable[..., dict[str, Any]]:
    """Decodes some tokens greedily, each step waited for; the seconds of the middle one."""
    import mlx.core as mx

    def decode(rows: int) -> dict[str, Any]:
        step, tokens, seconds = begin(rows), mx.full((rows, 1), 2), []
        for _ in range(STEPS):
            start = clock()
            tokens = mx.argmax(step(tokens)[:, -1], axis=-1)[:, None]
            mx.eval(tokens)
            seconds.append(clock() - start)
        return {"seconds": sorted(seconds)[STEPS // 2]}

    return decode


PEERS = {
    "transformers": transformers,
    "optimum-onnx": optimum,
    "mlx-vlm": florence,
    "mlx-whisper": whisper,
}


def serve(peers: Mapping[str, Callable[..., Any]], versions: Callable[[str], str]) -> None:
    """Say which version is there, then answer every line."""
    out = os.fdopen(os.dup(1), "w")
    sys.stdout = sys.stderr  # where libraries may print
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    warnings.simplefilter("ignore")
    logging.disable()
    model = json.loads(sys.argv[1])
    name = model.pop("name")
    try:
        answer, said = peers[name](**model), {"version": versions(name)}
    except Exception as error:  # whatever an export or an import ends with is what is reported
        answer, said = None, {"missing": f"{type(error).__name__}: {error}"}
    print(json.dumps(said), file=out, flush=True)
    for line in sys.stdin:
        assert answer is not None  # nobody asks what is missing
        print(json.dumps(answer(**json.loads(line))), file=out, flush=True)


if __name__ == "__main__":
    serve(PEERS, version)
