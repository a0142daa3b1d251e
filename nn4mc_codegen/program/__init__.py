"""Elementary instructions that a network is lowered to, and their derivatives."""
