"""Names of the commands, with what each is for, and doit's own: no target may be called so."""

from __future__ import annotations

# In the order of use; the module of a command in commands/ has its name.
COMMANDS = {
    "new": "write a first target file from what is installed",
    "build": "build what is stale",
    "plan": "show what a build would do, and why",
    "why": "show what brings a path into a root",
    "list": "list the targets and their tasks",
    "info": "show a task: its sources, and why it is stale",
    "clean": "remove what was installed",
    "enter": "run a shell or a command inside a root",
    "learn": "find what is missing by tracing",
    "check": "prove that the service works inside its root",
    "audit": "show what is dangerous in a root",
    "verify": "compare a root with what was installed, byte for byte",
    "refresh": "bring a root up to date, for cron and package hooks",
    "watch": "stay, and refresh as sources change",
    "schedule": "have it refreshed by cron, systemd, apt or dpkg",
    "host": "show or install the host's side: links, wrapper, syslog, units",
    "locate": "find a file of the sysroot and the package that owns it",
}
_DOIT = "auto clean dumpdb forget help ignore info list reset-dep run strace tabcompletion"

# A word that is a command of doit's or ours never reaches a target of that name.
RESERVED = frozenset((*COMMANDS, *_DOIT.split()))
