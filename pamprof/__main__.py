"""``python -m pamprof``."""

from pamprof.cli import main

if __name__ == "__main__":
    main()
