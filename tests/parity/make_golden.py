"""Write `tests/data/golden`: a tiny random checkpoint saved by transformers and what it computes.

Run from the repository's root, with the parity extra: `python -m tests.parity.make_golden`.
"""

from pathlib import Path

import numpy as np
import torch

from tests.parity.reference import image, reference

FOLDER = Path("tests/data/golden")


def main() -> None:
    changes = {"vocab_size": 21, "d_model": 16, "decoder_layers": 2, "decoder_ffn_dim": 24}
    encoder = {"hidden_size": 12, "intermediate_size": 20}
    model = reference(("DeiT", encoder), ("TrOCR", changes))
    model.save_pretrained(FOLDER)
    x, _ = image(model)
    labels = torch.tensor([[8, 9, 10, 11], [12, 13, -100, -100]])
    with torch.no_grad():
        out = model(pixel_values=x, labels=labels)
        tokens = model.generate(x, max_length=12, do_sample=False)
    np.savez_compressed(
        FOLDER / "outputs.npz",
        pixel_values=x.numpy().transpose(0, 2, 3, 1),
        labels=labels.numpy(),
        features=out.encoder_last_hidden_state.numpy(),
        logits=out.logits.numpy(),
        loss=out.loss.numpy(),
        tokens=tokens.numpy(),
    )


if __name__ == "__main__":
    main()
