"""Draw the synthetic catalogue of `hangtag demo`."""
