"""Runs the generated C, on the host and under QEMU, and compares it."""
