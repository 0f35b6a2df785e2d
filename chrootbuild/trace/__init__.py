"""Texts of strace, kdump and truss -> events."""
