"""Namespaces, overlays and cut privileges in which a root's programs run."""
