"""devloop: save a file, and seconds later the new code answers on localhost."""

__version__ = "0.1.0"
