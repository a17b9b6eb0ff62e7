"""Run the command line as `python -m hangtag`."""

from hangtag.cli import main

# Worker processes that decode photographs may import this file again.
if __name__ == "__main__":
    main()
