"""`python -m soft_control.cli` is `softctl`."""

from soft_control.cli import main

main()
