"""One line image in a process of its own, from the start of Python to the text on stdout.

`mlx_vedec generate` against the shortest script with transformers, the bundled model, files in the
disk's cache and modules compiled to bytecode, in turn; and where our time goes. On a CPU MLX
compiles code only for `mx.compile`, which generation does not use there, so no kernels are kept
between runs.

python -m tests.benchmarks.cold_start [--short] [--rounds N] [--blas openblas|blis|none] [--cpu]
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from mlx_vedec.reading.load import BUNDLED

from . import BLAS, LIBRARIES, ONE_THREAD
from .bundled import on_canvas
from .measure import Side, arguments, in_turn, show_ratio, show_times

LINE = "seen_006.png"
TARGET = 1 / 8
TRANSFORMERS = """
import sys
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, VisionEncoderDecoderModel
folder, image = sys.argv[1:]
model = VisionEncoderDecoderModel.from_pretrained(folder)
processor = AutoImageProcessor.from_pretrained(folder)
pixels = processor(Image.open(image).convert("RGB"), return_tensors="pt").pixel_values
tokens = model.generate(pixels.to(model.dtype))
tokenizer = AutoTokenizer.from_pretrained(folder)
print(tokenizer.batch_decode(tokens, skip_special_tokens=True)[0])
"""
STAGES = f"""
import json, sys, time
clock = time.{"process_time" if ONE_THREAD else "perf_counter"}
stages, last = {{}}, clock()
def stage(name):
    global last
    stages[name], last = clock() - last, clock()
import mlx.core as mx, mlx.nn, numpy
stage("import MLX and numpy")
import mlx_vedec.commands.generate, mlx_vedec.reading.generate, mlx_vedec.reading.load
stage("import mlx_vedec")
model, processor = mlx_vedec.load()
mx.eval(model.parameters())
stage("load")
features = model.features(processor.pixels(sys.argv[1:]))
mx.eval(features)
stage("read and encode")
model.generate(encoder_outputs=(features,))
stage("decode")
print(json.dumps(stages))
"""


def main() -> None:
    """Print the ratio, then the stages of ours."""
    chosen = arguments(__doc__, rounds=(9, 3))
    with tempfile.TemporaryDirectory() as compiled:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        ours = {**environment, "LD_PRELOAD": LIBRARIES.get(BLAS) or ""}
        image = on_canvas(LINE, compiled)
        command = ["-m", "mlx_vedec", "generate", "--image", image]
        theirs = ["-c", TRANSFORMERS, str(BUNDLED), image]
        assert said(command, ours) == said(theirs, environment)
        times = in_turn(
            {
                "python": process(["-c", ""], environment),
                "mlx_vedec generate": process(command, ours),
                "transformers": process(theirs, environment),
            },
            chosen.rounds,
        )
        show_times(times)
        show_ratio(times, "mlx_vedec generate", "transformers", TARGET)
        stages = [json.loads(said(["-c", STAGES, image], ours)) for _ in range(chosen.rounds)]
    for name in stages[0]:
        print(f"  {name:34} {1000 * statistics.median(run[name] for run in stages):.0f} ms")


def said(arguments: list[str], environment: dict[str, str]) -> str:
    """What a Python process prints."""
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, env=environment, check=True, text=True, capture_output=True
    ).stdout


def process(arguments: list[str], environment: dict[str, str]) -> Side:
    """A side of one whole process: its processor time with `--cpu`."""
    clock = children if ONE_THREAD else time.perf_counter

    def side() -> float:
        start = clock()
        said(arguments, environment)
        return clock() - start

    return side


def children() -> float:
    """Seconds of the processor in processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
