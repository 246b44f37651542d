"""Images loaded and made into pixels as Hugging Face's image processors do; boxes; text lines.

Imports checkpoints, for its files.
"""
