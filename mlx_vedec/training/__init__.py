"""Fine-tuning: data, labels and batches, and the loop over them."""
