"""The bounds of a sandbox: those that the kernel keeps, and the warden that watches the others."""
