"""ELF files: bytes -> facts, by pyelftools, remembered by a memo."""
