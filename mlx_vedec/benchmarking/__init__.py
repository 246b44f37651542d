"""The machine at hand: how fast models read on it, and whether they compute what they should."""
