"""Staged -> in place: the order, the swaps, the renames, the write-ahead journal."""
