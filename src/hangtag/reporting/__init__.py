"""Describe everything as one page."""
