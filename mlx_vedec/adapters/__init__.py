"""Adapters: LoRA and DoRA put on a model's layers, their files and PEFT's, and fusing them.

Imports layers and checkpoints; knows no family of models.
"""
