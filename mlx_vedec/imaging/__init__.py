"""Pictures: read, resized, measured, found lines in."""
