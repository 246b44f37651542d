"""VisionEncoderDecoderModel: composed config, assembly, forward pass, generation, bytes held.

Imports the encoders, the decoders, generation and all below them.
"""
