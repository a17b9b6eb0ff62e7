"""The networks by name, and how they are saved and loaded."""
