"""Draw the catalogue of `hangtag demo`."""
