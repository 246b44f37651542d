"""How well a model reads and how fast: evaluation, verification, benchmark, selfcheck, inspection.

Imports data, reading and all below them.
"""
