"""One module for each command, named like it; only these read and write the workspace."""
