"""Target and sysroot -> Plan: every artifact of a root with the reason for it; never looks at a root."""
