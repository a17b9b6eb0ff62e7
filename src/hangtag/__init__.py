"""hangtag reads a fashion catalogue, learns its categories from the photographs and finds its mistakes."""

__version__ = "0.1.0"
