"""Roots kept true: refresh, rollback, watch."""
