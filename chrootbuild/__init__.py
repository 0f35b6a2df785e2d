"""A make-style incremental build system for chroots."""

__version__ = "0.1.0"
