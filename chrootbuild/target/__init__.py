"""A target file's TOML, validated and merged, as a Target."""
