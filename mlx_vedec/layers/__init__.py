"""What all families are built of: attention, dropout, key/value caches, LoRA, quantized layers.

Imports only the errors and the writing of files.
"""
