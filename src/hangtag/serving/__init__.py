"""Serve: a small model folder, and what classifies with it from the shell, over HTTP and in a browser."""
