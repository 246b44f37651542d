"""What quantization costs on one's own images, and how to make it cost less."""
