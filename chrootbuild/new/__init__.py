"""A first target file, from what is installed."""
