"""The host's side of a root: links, wrappers, syslog, units, schedules, and their installer."""
