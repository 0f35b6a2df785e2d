"""What a trace says: text -> calls -> accesses -> proposals. Nothing here starts or writes anything."""
