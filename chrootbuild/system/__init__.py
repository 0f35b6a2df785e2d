"""The kernel's interface: system calls, descriptors, mounts, processes, sockets, ACLs, trust in files."""
