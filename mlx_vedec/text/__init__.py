"""Text to token ids and back, from whatever files a tokenizer has; error rates of texts.

Imports checkpoints, for its files.
"""
