"""A make-style incremental build system for chroots."""

__version__ = "0.1.0"

# Incremented when the same plan would be built differently: everything is then compared anew.
RECIPE = 1
