"""Twenty steps of torch's AdamW on transformers' model and of ours, from one saved folder."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import mlx.core as mx  # noqa: E402

from mlx_vedec.layers.token_ids import token_losses  # noqa: E402
from mlx_vedec.training.arguments import TrainingArguments  # noqa: E402
from mlx_vedec.training.trainer import train  # noqa: E402
from tests.support.training import Keeper, RandomBatches  # noqa: E402

from .reference import one_thread, pair  # noqa: E402

STEPS, RATE, WARMUP = 20, 1e-3, 5
STILL = {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}
GPT2 = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}


def torch_losses(model, batches, *, decay, most, smoothing=0.0) -> list[float]:
    """What transformers' model loses in each step: every batch of an epoch is one."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, step / WARMUP))
    measure = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)
    losses = []
    model.train()
    with one_thread():
        for step in range(STEPS):
            batch = batches.batch(*divmod(step, len(batches)))
            arrays = (batch.pixel_values, batch.decoder_input_ids, batch.labels)
            pixels, ids, labels = (torch.from_numpy(np.array(x)) for x in arrays)
            logits = model(
                pixel_values=pixels.permute(0, 3, 1, 2), decoder_input_ids=ids.long()
            ).logits
            loss = measure(logits.flatten(0, 1), labels.flatten().long())
            loss.backward()
            if most is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), most)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    return losses


@pytest.mark.parametrize(
    ("encoder", "decoder", "changes"),
    [
        (("ViT", {}), ("TrOCR", STILL), {}),
        (("ViT", {}), ("TrOCR", STILL), {"max_grad_norm": 0.5, "weight_decay": 0.3}),
        (("ViT", {}), ("TrOCR", STILL), {"label_smoothing": 0.1}),
        (("ViT", {}), ("GPT2", GPT2), {"max_grad_norm": 0.5}),
    ],
    ids=["plain", "clipped and decayed", "smoothed", "GPT-2"],
)
def test_losses_are_those_of_torch(encoder, decoder, changes, tmp_path):
    theirs, ours = pair(tmp_path, encoder, decoder)
    batches, seen = RandomBatches(5), Keeper()
    options = {"weight_decay": 0.0, "max_grad_norm": None, "label_smoothing": 0.0, **changes}
    arguments = TrainingArguments(
        iters=STEPS, learning_rate=RATE, warmup=WARMUP, decay_all=True, compile=False, **options
    )
    train(ours, batches, arguments, callbacks=[seen])
    expected = torch_losses(
        theirs,
        batches,
        decay=options["weight_decay"],
        most=options["max_grad_norm"],
        smoothing=options["label_smoothing"],
    )
    assert expected[-1] < expected[0] - 0.05
    difference = np.abs(np.array(seen.losses) - expected).max()
    print(f"largest difference of a loss: {difference:.1e}")
    assert difference < 1e-5


def test_token_losses_are_torchs():
    random = np.random.default_rng(0)
    logits = random.normal(size=(3, 4, 9)).astype(np.float32) * 20
    labels = random.integers(0, 9, (3, 4))
    labels[1:, 2:] = -100
    for smoothing in (0.0, 0.3):
        loss, tokens = token_losses(mx.array(logits), mx.array(labels), smoothing)
        measure = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)
        expected = measure(
            torch.from_numpy(logits).flatten(0, 1), torch.from_numpy(labels).flatten()
        )
        assert (loss / tokens).item() == pytest.approx(expected.item(), rel=1e-6)
