"""`python -m nn4mc_codegen` is `nn4mc`."""

from nn4mc_codegen.cli import main

main()
