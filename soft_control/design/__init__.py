"""Networks, horizons and solvers under a budget: searched, measured on the emulated part, compared."""
