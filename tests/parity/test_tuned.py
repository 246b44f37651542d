"""The bundled model fine-tuned and fused at the command line, read by transformers."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from mlx_vedec import commands, generate, load
from mlx_vedec.reading.load import BUNDLED

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


@pytest.mark.slow
def test_transformers_reads_what_was_tuned_and_fused(tmp_path, capsys):
    """The same text as base and adapters give here, which is not the base's."""
    lines, data = BUNDLED / "lines", tmp_path / "data"
    (data / "train").mkdir(parents=True)
    for name in ("seen_000.png", "seen_003.png"):
        shutil.copy(lines / name, data / "train")
    line = lines / "seen_000.png"
    (data / "train" / "labels.tsv").write_text("seen_000.png\t=HALVE=\nseen_003.png\tother\n")
    path, fused = str(tmp_path / "adapters"), str(tmp_path / "fused")
    train = ["lora", "--train", "--data", str(data), "--adapter-path", path, "--iters", "6"]
    assert commands.main([*train, "--learning-rate", "3e-3"]) == 0
    merge = ["fuse", "--model", str(BUNDLED), "--adapter-path", path, "--save-path", fused]
    assert commands.main(merge) == 0
    model, processor = load(adapter_path=path)
    ours = generate(model, processor, line)
    assert ours.text != generate(*load(), line).text
    theirs = transformers.VisionEncoderDecoderModel.from_pretrained(fused, dtype=torch.float32)
    pixels = torch.from_numpy(np.array(processor.pixels([line]))).permute(0, 3, 1, 2)
    found = theirs.eval().generate(pixels, max_new_tokens=20, num_beams=1, do_sample=False)
    assert processor.batch_decode(found.tolist(), skip_special_tokens=True) == [ours.text]
