"""Write `tests/data/lines/reference.json`: what transformers reads with the bundled model.

python -m tests.benchmarks.make_reference_lines

For each line of the file: ids, text, log-probabilities, and the mean and deviation of its pixels,
on the canvas that our processor prepares. As much of the canvas is encoded as we encode, with a
table of positions cut to fit. Labels stay as they are. It needs torch and transformers.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from mlx_vedec import load, load_image
from mlx_vedec.reading.load import BUNDLED

LINES = Path("tests/data/lines")


def main() -> None:
    """Read all lines anew."""
    import torch
    from transformers import AutoTokenizer, VisionEncoderDecoderModel, ViTImageProcessor

    model = VisionEncoderDecoderModel.from_pretrained(BUNDLED, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED)
    theirs, (ours, processor) = ViTImageProcessor.from_pretrained(BUNDLED), load()
    embeddings = model.encoder.embeddings
    table = embeddings.position_embeddings
    rows = json.loads((LINES / "reference.json").read_text())
    for row in rows:
        picture = processor.on_canvas(load_image(LINES / row["file"]))
        pixels = theirs(picture, return_tensors="pt").pixel_values
        width = ours.encoder.narrowed(processor.pixels([picture])).shape[2]
        embeddings.image_size = (pixels.shape[2], width)
        embeddings.position_embeddings = torch.nn.Parameter(table[:, : 1 + width // 8])
        with torch.no_grad():
            out = model.generate(
                pixels[..., :width], output_scores=True, return_dict_in_generate=True
            )
        ids = out.sequences[0].tolist()
        chosen = model.compute_transition_scores(out.sequences, out.scores, normalize_logits=True)
        row["ids"] = ids
        row["text"] = tokenizer.decode(ids, skip_special_tokens=True)
        row["token_logprobs"] = np.round(chosen[0].numpy().astype(float), 6).tolist()
        row["pixel_mean"] = float(pixels.double().mean())
        row["pixel_std"] = float(pixels.double().std())
    (LINES / "reference.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
