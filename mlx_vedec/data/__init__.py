"""Images with their texts, in the layouts people have them; their labels, and batches to train on.

Imports reading and all below it.
"""
