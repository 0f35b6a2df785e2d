"""Facts about a root -> security findings."""
