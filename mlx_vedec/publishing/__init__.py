"""The Hugging Face Hub, written to: uploads and model cards."""
