"""Adapters: LoRA and DoRA, their files and PEFT's, and merging them into a model."""
