"""A shell or command inside a root, with temporary tools and a terminal."""
