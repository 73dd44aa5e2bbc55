"""Lets `python -m abr` do what `abr` does."""

from abr.cli import main

if __name__ == "__main__":
    main()
