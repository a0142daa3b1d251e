"""How a firmware gets to its board: what an image says of itself, and ways to write it."""
