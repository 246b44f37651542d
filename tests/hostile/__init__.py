"""Hostile inputs: each has to end in a right answer, or in an error of ours.

`python -m tests.hostile --seconds 600` tries seeded random inputs of all kinds, in a process of its
own that is replaced where it dies or hangs, and command lines as processes. What fails is printed
with the seed and the number that repeat it.
"""
