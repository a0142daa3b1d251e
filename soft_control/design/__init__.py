"""Networks, horizons and solvers under a budget: searched, measured, compared."""
