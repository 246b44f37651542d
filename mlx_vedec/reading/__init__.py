"""From images to texts: the processor, `load`, `generate` and its kin, results and word boxes.

Imports the model, the tasks and all below them.
"""
