"""A checkpoint made into another: converted, quantized to fit images, fused, put on the Hub.

Imports every room below but none of the commands.
"""
