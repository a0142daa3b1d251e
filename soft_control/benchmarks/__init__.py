"""Comparisons that anyone can repeat, with the peers that they need."""
