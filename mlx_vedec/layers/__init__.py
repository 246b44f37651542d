"""What all families are built of: attention, caches, dropout, LoRA, losses, quantization.

Imports only the errors and the writing of files.
"""
