"""Traces of system calls: text -> calls -> accesses -> proposals. Nothing here starts or writes anything."""
