"""Weights that are not plain safetensors: pickles, which are read and never run; foreign bits."""
