"""From a decoder's steps to tokens: options, rules, sampling, beams, loops; arrays and ids alone.

Imports layers and checkpoints; knows neither the model nor a family.
"""
