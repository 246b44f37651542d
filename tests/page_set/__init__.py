"""Pages with known texts and lines: layouts × disturbances, made by a seeded script."""
