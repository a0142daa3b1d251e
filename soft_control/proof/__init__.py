"""Bounds of a firmware by its machine code, and of the network in it by intervals."""
