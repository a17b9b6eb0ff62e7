"""Tell everything as one page."""
