"""softctl, the command line: one file a group of commands, terminal and options in one place."""

from soft_control.cli.app import main

__all__ = ["main"]
