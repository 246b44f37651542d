"""A step of the trainer beside a bare compiled one and that of torch and PEFT; and its memory.

Each side is a process of its own, on the same saved model, and they take turns; what they compute
is in `training_ends`. torch keeps the BLAS that it was built with.

python -m tests.benchmarks.training [--short] [--rounds N] [--blas openblas|blis|none] [--cpu]
"""

from __future__ import annotations

import tempfile
from typing import Any

import mlx.core as mx

from mlx_vedec import TrOCRConfig, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig

from . import BLAS, LIBRARIES
from .measure import arguments, in_turn, show_ratio, show_times
from .peer_ends import Peer
from .training_ends import __name__ as ENDS

LENGTH = 32  # labels of a row
SIDES: dict[str, tuple[str, dict[str, bool]]] = {
    "the trainer's step": ("trainer", {}),
    "a bare compiled step": ("bare", {}),
    "the trainer's step, not compiled": ("trainer", {"compile": False}),
    "torch and PEFT": ("peft", {}),
}
KEPT: dict[str, dict[str, bool]] = {
    "activations kept, compiled": {},
    "layers computed again, compiled": {"grad_checkpoint": True},
    "layers computed again": {"grad_checkpoint": True, "compile": False},
}


def main() -> None:
    """Print the ratios of the steps, and the peak memory with and without checkpointing."""
    chosen = arguments(__doc__, rounds=(9, 5), layers=(12, 2))
    rows = 2 if chosen.short else 4
    with tempfile.TemporaryDirectory() as folder:
        small(chosen.layers).save_pretrained(folder)
        shape = {"folder": folder, "rows": rows, "length": LENGTH}
        print(f"{rows} images, {LENGTH} labels each, {chosen.layers} layers of the encoder")
        compare(shape, rows, chosen.rounds)
        print("\npeak memory of a step, GB beside what is there between steps")
        for said, options in KEPT.items():
            peer = begun("trainer", {**shape, **options})
            print(f"  {said:34} {peer.ask(memory=True)['bytes'] / 1e9:.2f}", flush=True)
            peer.close()


def compare(shape: dict[str, Any], rows: int, rounds: int) -> None:
    """Times of the sides in turn, and the ratios that count."""
    peers = {said: begun(name, {**shape, **more}) for said, (name, more) in SIDES.items()}
    for said in [said for said, peer in peers.items() if peer.missing]:
        print(f"  {said}: not installed or not working: {peers.pop(said).missing}")
    losses = {said: peer.ask()["loss"] for said, peer in peers.items()}
    first = next(iter(losses.values()))
    assert all(abs(loss - first) < 1e-4 * first for loss in losses.values()), losses
    sides = {said: lambda peer=peer: peer.ask()["seconds"] for said, peer in peers.items()}
    times = in_turn(sides, rounds)
    for peer in peers.values():
        peer.close()
    show_times(times, rows)
    ours, plain, loose, other = SIDES
    show_ratio(times, ours, plain, target=1.05)
    show_ratio(times, loose, ours)
    if other in times:
        show_ratio(times, loose, other)


def begun(name: str, model: dict[str, Any]) -> Peer:
    """A side in its own process."""
    blas = "none" if name == "peft" else BLAS if BLAS in LIBRARIES else "openblas"
    return Peer(name, module=ENDS, blas=blas, **model)


def small(layers: int) -> VisionEncoderDecoderModel:
    """The model without adapters, random."""
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
    return VisionEncoderDecoderModel(config)


if __name__ == "__main__":
    main()
