"""How a firmware gets to its board: what an image says of itself, and the ways to write it there."""
