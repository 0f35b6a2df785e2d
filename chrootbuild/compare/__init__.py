"""Plan, record and root -> what is stale, and why; drift."""
