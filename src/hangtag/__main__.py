"""Run the command line as `python -m hangtag`."""

from hangtag.cli import main

main()
