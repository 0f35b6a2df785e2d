"""The trial of a root: commands, the service, readiness, probes; the proof that it serves."""
