"""A make-style incremental build system for chroots."""

__version__ = "0.1.0"

# Incremented when the same plan would be built differently: everything is then compared anew.
RECIPE = 1

# The group of a state folder that root made: no user can give a folder to it (system/provenance.py).
STATE_GROUP = 65535
