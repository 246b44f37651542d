"""Checkpoints as folders: configs, names on disk, strict loading, saving; fetched from the Hub.

Pickles are read and never run. Imports layers.
"""
