"""What some checkpoints mean by their texts: Donut, Nougat, manga-ocr."""
