"""Coverage-guided fuzzing of every parser that reads bytes of others: python -m tests.fuzz NAME --seconds N."""
