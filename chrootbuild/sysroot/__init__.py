"""The one reader of the tree that sources come from, and what its package manager tells."""
