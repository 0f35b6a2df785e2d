"""Who may do what: users and capabilities, ACLs, trust in files, system calls that are refused."""
