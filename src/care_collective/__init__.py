"""Care Collective: neighbours ask for help, neighbours offer it, and two people talk."""

__version__ = "0.1.0"
