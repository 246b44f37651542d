"""Pictures read and made into pixels as Hugging Face's image processors do; lines of a page.

Imports checkpoints, for its files.
"""
