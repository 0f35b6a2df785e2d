"""Berkeley DB 1.85 hash files: format, reader, writer."""
