"""Faults as data, injected on the wires, processes, files or clock of a run, and what must follow.

config/faults/ says which; docs/faults.md is the table that `softctl faults` writes of them.
"""
