"""``python -m minicnn`` is the command ``minicnn``."""

from minicnn.cli import main

if __name__ == "__main__":
    main()
