"""Predict labels with a trained model."""
