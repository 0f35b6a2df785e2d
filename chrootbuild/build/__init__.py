"""A target's build from lock to publish, and doit's view of it."""
