"""`python -m care_collective` is the command care-collective."""

from care_collective.cli import main

if __name__ == "__main__":
    main()
