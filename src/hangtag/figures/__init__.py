"""Figures, one kind a file, each drawn from a table that is saved beside it."""
