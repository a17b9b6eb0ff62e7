"""Metrics of classifiers: numbers only."""
