"""A step of the trainer, against the bare compiled step of the same graph; and its memory.

TrOCR-small's shape (DeiT-small at 384 pixels, a decoder of 6 layers and 256 dims), random float32
weights, LoRA in the attentions, AdamW. The bare step is what a loop of a few lines would do: loss,
gradients and update in one compiled function, one evaluation.

python -m tests.benchmarks.training [--short] [--rounds N] [--blas openblas|blis|none] [--cpu]
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np

from mlx_vedec import TrOCRConfig, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig
from mlx_vedec.adapters.wrapping import add_adapters
from mlx_vedec.layers.token_ids import token_losses
from mlx_vedec.training.arguments import TrainingArguments
from mlx_vedec.training.steps import Stepper
from tests.support.training import RandomBatch

from .measure import arguments, in_turn, show_ratio, show_times, timed

LENGTH, RATE = 32, 1e-4


def main() -> None:
    """Print the ratio of the two steps, and the peak memory with and without checkpointing."""
    chosen = arguments(__doc__, rounds=(9, 5), layers=(12, 2))
    rows = 2 if chosen.short else 4
    batch = random_batch(rows)
    print(f"{rows} images, {LENGTH} labels each, {chosen.layers} layers of the encoder")
    names = "trainer's step", "bare step", "trainer's step, not compiled"
    sides = trainer(chosen.layers, batch), bare(chosen.layers, batch)
    loose = trainer(chosen.layers, batch, compile=False)
    times = in_turn(dict(zip(names, map(timed, (*sides, loose)), strict=True)), chosen.rounds)
    show_times(times, rows)
    show_ratio(times, *names[:2], target=1.1)
    show_ratio(times, names[2], names[0])
    print("\npeak memory of a step, GB above what is there between steps")
    for again in (False, True):
        kept = "layers computed again" if again else "activations kept"
        step = trainer(chosen.layers, batch, grad_checkpoint=again)
        print(f"  {kept:34} {peak(step) / 1e9:.2f}", flush=True)


def peak(step: Callable[[], object]) -> int:
    """The bytes that a step needs, after one that does not count."""
    step()
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    step()
    return mx.get_peak_memory() - before


def small(layers: int) -> VisionEncoderDecoderModel:
    """The model with adapters, in `train()` mode and without dropout."""
    encoder = ViTConfig(
        image_size=384,
        hidden_size=384,
        num_hidden_layers=layers,
        num_attention_heads=6,
        intermediate_size=1536,
        hidden_dropout_prob=0.0,
    )
    decoder = TrOCRConfig(
        vocab_size=64044,
        d_model=256,
        decoder_layers=max(1, layers // 2),
        decoder_attention_heads=8,
        decoder_ffn_dim=1024,
        dropout=0.0,
    )
    mx.random.seed(0)
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    model = VisionEncoderDecoderModel(config)
    add_adapters(model)
    model.train()
    mx.eval(model.parameters())
    return model


def random_batch(rows: int) -> RandomBatch:
    """Pixels and labels that all count."""
    random = np.random.default_rng(0)
    pixels = random.normal(size=(rows, 384, 384, 3)).astype(np.float32)
    ids = random.integers(3, 64000, (rows, LENGTH + 1)).astype(np.int32)
    return RandomBatch(mx.array(pixels), mx.array(ids[:, :-1]), mx.array(ids[:, 1:]))


def trainer(layers: int, batch: RandomBatch, **options: bool) -> Callable[[], object]:
    """The trainer's own step, on a batch that is there."""
    model = small(layers)
    model.gradient_checkpointing_enable(options.get("grad_checkpoint", False))
    stepper = Stepper(
        model, TrainingArguments(**{"compile": True, **options}), mx.distributed.init()
    )
    return lambda: stepper.update([batch], 0, RATE)


def bare(layers: int, batch: RandomBatch) -> Callable[[], object]:
    """Loss, gradients and update as one compiled function."""
    model = small(layers)
    optimizer = optim.AdamW(RATE, bias_correction=True)
    optimizer.init(model.trainable_parameters())
    state = [model.state, optimizer.state, mx.random.state]

    def loss(pixels: mx.array, ids: mx.array, labels: mx.array) -> mx.array:
        total, tokens = token_losses(
            model(pixels, decoder_input_ids=ids, use_cache=False).logits, labels
        )
        return total / tokens

    @partial(mx.compile, inputs=state, outputs=state)
    def step(*arrays: mx.array) -> mx.array:
        value, gradients = nn.value_and_grad(model, loss)(*arrays)
        optimizer.update(model, gradients)
        return value

    def run() -> None:
        value = step(batch.pixel_values, batch.decoder_input_ids, batch.labels)
        mx.eval(state, value)

    return run


if __name__ == "__main__":
    main()
