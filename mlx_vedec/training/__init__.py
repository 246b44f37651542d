"""Fine-tuning: the loop over batches, its optimizer, its state on disk, and what it reports.

Imports measuring, data and all below them.
"""
