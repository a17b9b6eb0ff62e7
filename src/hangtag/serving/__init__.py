"""Classify photographs with an exported model: the HTTP service and its web page, and the output of `classify`."""
