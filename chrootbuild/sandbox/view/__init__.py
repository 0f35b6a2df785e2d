"""The two views of the file system that a sandbox has, and the overlays that they are made of."""
