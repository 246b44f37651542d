"""A page: its regions, lines and reading order; read, corrected, and written as PAGE, ALTO or hOCR.

Imports reading and all below it.
"""
