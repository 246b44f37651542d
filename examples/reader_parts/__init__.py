"""The parts of `train_reader.py`: texts, typefaces, pictures of lines, batches, the start."""
