"""What kinds of checkpoint mean by their texts: Donut's JSON, Nougat's Markdown, manga-ocr.

Imports text and what is below it.
"""
