"""VisionEncoderDecoderModel: composed config, assembly, forward pass, generation, memory held.

Imports the encoders, the decoders, generation and all below them.
"""
