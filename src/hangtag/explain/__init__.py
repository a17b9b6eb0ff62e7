"""Heatmaps: where in a photograph a model found evidence for a class."""
