"""Look at the catalogue: counts, balance, sunbursts and contact sheets."""
