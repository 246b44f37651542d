"""What converting costs: memory over a process that has only imported the package, and bytes.

    python -m tests.benchmarks.convert [--layers N]

The source is random, float32, of trocr-base's shape (1.3 GB, its largest tensor 206 MB); it is made
in a temporary folder, and so is what comes of it, in shards of 100 MB (7 GB are needed).
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import mlx.core as mx

from mlx_vedec import (
    Processor,
    TrOCRConfig,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
)
from mlx_vedec.reading.load import BUNDLED

from .measure import machine

LARGEST = 206  # MB of the source's largest tensor
MOST = 2 * LARGEST + 150  # MB of memory over the import
UNIFORM = "QuantizationConfig(4, recipe='uniform')"
CASES = {  # of the source, or of what another case wrote; with the largest share of float16's bytes
    "--dtype float16": ("source", "dtype='float16'", None),
    "as it is": ("source", "", None),
    "-q --q-bits 4": ("source", "quantize=4", 0.36),
    "-q --quant-predicate uniform": ("source", f"quantize={UNIFORM}", 0.32),
    "-q --dtype float16": ("source", "quantize=4, dtype='float16'", 0.36),
    "-q --dtype float32": ("source", "quantize=4, dtype='float32'", None),
    "-d": ("-q --q-bits 4", "dequantize=True", None),
    "-d --dtype float32": ("-q --q-bits 4", "dequantize=True, dtype='float32'", None),
}
PEAK = """
import re, resource, sys
from pathlib import Path
import mlx_vedec
from mlx_vedec import {names}
{work}
if sys.platform == "linux":  # where a process takes over what the one that started it had
    print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024)
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(work: str = "", names: str = "__version__") -> float:
    """Megabytes that a process of its own had resident at most."""
    code = PEAK.format(work=work, names=names)
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE)
    return int(done.stdout) / 1e6


def make_source(folder: Path, layers: int) -> None:
    """A random model of trocr-base's shape, with the bundled model's processor."""
    parts = (
        ViTConfig(image_size=384, qkv_bias=False, num_hidden_layers=layers),
        TrOCRConfig(decoder_layers=layers, cross_attention_hidden_size=768),
    )
    mx.random.seed(0)
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(*parts)
    VisionEncoderDecoderModel(config).save_pretrained(folder)
    Processor.from_pretrained(BUNDLED).save_pretrained(folder)


def size(folder: Path) -> float:
    """Megabytes of its weights."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 1e6


def verdict(value: float, limit: float | None) -> str:
    """The value, and whether it is within a limit."""
    return "" if limit is None else f" (at most {limit}: {'met' if value <= limit else 'MISSED'})"


def main() -> None:
    """Print a line per case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=12, help="of either part (12)")
    layers = parser.parse_args().layers
    print(machine())
    with tempfile.TemporaryDirectory() as temporary:
        folders = {name: Path(temporary) / str(i) for i, name in enumerate(["source", *CASES])}
        make_source(folders["source"], layers)
        base, module = peak(), peak(names="convert")
        print(f"import mlx_vedec: {base:.0f} MB; from mlx_vedec import convert: {module:.0f} MB")
        for name, (source, options, share) in CASES.items():
            paths = f"{str(folders[source])!r}, {str(folders[name])!r}, max_shard_size=10**8"
            work = f"convert({paths}, {options})"
            over = peak(work, "convert, QuantizationConfig") - base
            part = size(folders[name]) / size(folders["--dtype float16"])
            print(
                f"{name:30} +{over:4.0f} MB{verdict(over, MOST)}; {size(folders[name]):7.1f} MB, "
                f"{part:.3f} of float16{verdict(part, share)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
