"""The sides of `training`, each in a process of its own: a step of LoRA on a saved model.

TrOCR-small's shape (DeiT-small at 384 pixels, a decoder of 256 dims), random float32 weights, LoRA
of rank 8 in all linear layers but the head, AdamW, no dropout. `bare` is what a loop of a few lines
would do: loss, gradients and update in one compiled function, one evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np

from . import clock
from .peer_ends import serve

RATE, DECAY, RANK, ALPHA = 1e-4, 0.01, 8, 16

Batch = tuple[np.ndarray, np.ndarray, np.ndarray]  # pixels (B, H, W, C), ids (B, L), labels (B, L)
Answer = Callable[..., dict[str, Any]]


def random_batch(rows: int, length: int) -> Batch:
    """Pixels, decoder inputs, and labels that all count."""
    random = np.random.default_rng(0)
    pixels = random.normal(size=(rows, 384, 384, 3)).astype(np.float32)
    ids = random.integers(3, 64000, (rows, length + 1)).astype(np.int32)
    return pixels, ids[:, :-1], ids[:, 1:]


def trainer(folder: str, rows: int, length: int, **options: bool) -> Answer:
    """The trainer's own step, on a batch that is there."""
    import mlx.core as mx

    from mlx_vedec.training.arguments import TrainingArguments
    from mlx_vedec.training.steps import Stepper
    from tests.support.training import RandomBatch

    model = _adapted(folder)
    model.gradient_checkpointing_enable(options.get("grad_checkpoint", False))
    arguments = TrainingArguments(weight_decay=DECAY, **{"compile": True, **options})
    stepper = Stepper(model, arguments, mx.distributed.init())
    batch = RandomBatch(*map(mx.array, random_batch(rows, length)))
    return _timed(lambda: stepper.update([batch], 0, RATE).loss)


def bare(folder: str, rows: int, length: int) -> Answer:
    """Loss, gradients and update as one compiled function."""
    import mlx.core as mx
    import mlx.nn as nn
    import mlx.optimizers as optim

    from mlx_vedec.layers.token_ids import token_losses

    model, arrays = _adapted(folder), [*map(mx.array, random_batch(rows, length))]
    optimizer = optim.AdamW(RATE, weight_decay=DECAY, bias_correction=True)
    optimizer.init(model.trainable_parameters())
    state = [model.state, optimizer.state, mx.random.state]

    def loss(pixels: mx.array, ids: mx.array, labels: mx.array) -> mx.array:
        logits: Any = model(pixels, decoder_input_ids=ids, use_cache=False).logits
        total, tokens = token_losses(logits, labels)
        return total / tokens

    @partial(mx.compile, inputs=state, outputs=state)
    def step(*arrays: mx.array) -> mx.array:
        value, gradients = nn.value_and_grad(model, loss)(*arrays)
        optimizer.update(model, gradients)
        return value

    def run() -> float:
        value = step(*arrays)
        mx.eval(state, value)
        return float(value.item())

    return _timed(run)


def peft(folder: str, rows: int, length: int) -> Answer:
    """The same step in transformers and PEFT, on torch with its own BLAS."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import VisionEncoderDecoderModel

    base = VisionEncoderDecoderModel.from_pretrained(folder, dtype=torch.float32)
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear")
    model: Any = get_peft_model(base, config).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=DECAY)
    pixels, ids, labels = map(torch.from_numpy, random_batch(rows, length))
    given = {"pixel_values": pixels.permute(0, 3, 1, 2).contiguous(), "use_cache": False}
    given |= {"decoder_input_ids": ids.long(), "labels": labels.long()}

    def run() -> float:
        loss = model(**given).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return _timed(run, weights=sum(parameter.numel() for parameter in trained))


def _adapted(folder: str) -> Any:
    """The saved model with adapters, in `train()` mode."""
    import mlx.core as mx

    from mlx_vedec import LoraConfig, VisionEncoderDecoderModel
    from mlx_vedec.adapters.wrapping import add_adapters

    model = VisionEncoderDecoderModel.from_pretrained(folder)
    add_adapters(model, LoraConfig(rank=RANK, alpha=ALPHA))
    model.train()
    mx.eval(model.parameters())
    return model


def _timed(run: Callable[[], float], **facts: Any) -> Answer:
    """A step by the seconds it takes and its loss; `memory`: by the bytes that MLX needs for it."""

    def answer(memory: bool = False) -> dict[str, Any]:
        if memory:
            return {"bytes": _peak(run)}
        start = clock()
        loss = run()
        return {"seconds": clock() - start, "loss": loss, **facts}

    return answer


def _peak(run: Callable[[], float]) -> int:
    """The bytes that a step needs beside what is there between steps."""
    import mlx.core as mx

    run()
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    run()
    return mx.get_peak_memory() - before


if __name__ == "__main__":
    sides = {"trainer": trainer, "bare": bare, "peft": peft}
    serve(sides, lambda name: version("peft" if name == "peft" else "mlx"))
