"""Files that root's programs obey: those that somebody put there, and those that others can write."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chrootbuild.audit.facts import Entry, Facts, Rule, is_wanted
from chrootbuild.audit.rules.permissions import is_sticky, writers_of
from chrootbuild.audit.rules.secrets import content
from chrootbuild.findings import Finding

RUNS = Rule(
    "root-obeys",
    "error; warning in a declared directory, and for another user's crontab",
    "Root's programs do what this file says, and the target did not bring it: whoever wrote it becomes root.",
    "look at it and remove it; where it belongs there, name it in the target",
)
PRELOAD = Rule(
    "preload",
    "error; note where the target brings the file and each library that it names",
    "Every program loads what this file names, those of root and setuid ones too.",
    "look at it and remove it; a library that is meant belongs in the target",
)
GRANT = Rule(
    "root-granted",
    "error",
    "Whoever is named becomes root without a password.",
    "take the line out of the host's file, or leave the file out of the target",
)
WRITABLE = Rule(
    "obeyed-writable",
    "error",
    "Who can change a file that root's programs obey, or the directory it is in, becomes root.",
    "chown root, chmod go-w, setfacl -b",
)

_PRELOAD = "/etc/ld.so.preload"
_ETC = r"/(?:usr/local/)?etc/"
_OBEYED = tuple(
    (what, re.compile(rf"(?:{paths})\Z", re.DOTALL))
    for what, paths in (
        ("sudo or doas", rf"{_ETC}(?:sudoers|sudoers\.d/.+|doas\.conf|sudo\.conf)|/etc/polkit-1/.+"),
        ("cron, as root", rf"{_ETC}(?:crontab|anacrontab|cron\.[a-z]+/.+|periodic/.+|periodic\.conf)"),
        ("cron, as root", r"/var/(?:spool/cron/(?:crontabs/|tabs/)?|cron/tabs/)root"),
        ("cron, as another user", r"/var/(?:spool/cron/(?:crontabs/|tabs/)|cron/tabs/).+"),
        ("at", r"/var/(?:spool/(?:at|cron/atjobs|atjobs)|at/jobs)/.+"),
        (
            "the system's start",
            (
                rf"{_ETC}(?:rc|rc\.[\w.]+|rc\.d/.+|rc[0-9S]\.d/.+|init\.d/.+|init/.+|inittab|ttys|inetd\.conf|xinetd.+)"
                r"|/etc/(?:modules|modprobe\.d/.+|rc\.conf\.d/.+)|/boot/loader\.conf"
            ),
        ),
        (
            "systemd or udev",
            (
                r"/(?:etc|run|lib|usr/lib|usr/local/lib)/"
                r"(?:systemd/.+|udev/rules\.d/.+|tmpfiles\.d/.+|binfmt\.d/.+|modules-load\.d/.+|environment\.d/.+)"
            ),
        ),
        ("D-Bus", r"/usr/share/dbus-1/system-services/.+|/etc/dbus-1/.+"),
        (
            "a shell of root's",
            (
                rf"{_ETC}(?:profile|profile\.d/.+|bash\.bashrc|bashrc|zsh\w*|zsh/.+|csh\.\w+|environment)"
                r"|/root/\.(?:profile|bash_\w+|bashrc|z\w+|cshrc|login|shrc|kshrc|vimrc|exrc|gdbinit|pythonrc|config/.+)"
            ),
        ),
        (
            "an interpreter",
            r"/.*/(?:sitecustomize|usercustomize)\.py|/.*/(?:site|dist)-packages/[^/]+\.pth|/.*/sitecustomize\.pl",
        ),
        ("logins", rf"{_ETC}(?:pam\.d/.+|pam\.conf|login\.conf|login\.access|hosts\.equiv|shosts\.equiv)"),
        (
            "logins",
            r"/root/\.(?:rhosts|shosts|k5login|forward|ssh/rc|ssh/environment)|/etc/ssh/ssh(?:d_config.*|rc)",
        ),
        (
            "the run-time linker",
            rf"{_ETC}(?:ld\.so\.conf|ld\.so\.conf\.d/.+|ld-musl-\w+\.path|libmap\.conf|libmap\.d/.+)",
        ),
        (
            "a tool of the system's",
            (
                r"/etc/(?:apt/.+\.d/.+|dpkg/dpkg\.cfg.*|logrotate\.(?:conf|d/.+)|newsyslog\.conf.*|ppp/.+|network/if-.+"
                r"|NetworkManager/.+|dhcp/.+hooks.*|kernel/.+|initramfs-tools/.+|update-motd\.d/.+|acpi/.+)"
            ),
        ),
    )
)
# Installed in nearly every root; only whether others can write them is judged.
_TRUSTED = re.compile(
    r"/etc|/root|/root/\.ssh(?:/.*)?|/var/spool/cron(?:/crontabs|/tabs)?|/var/cron/tabs|/etc/ld\.so\..+"
    rf"|{_ETC}(?:passwd|shadow|group|gshadow|master\.passwd|s?pwd\.db|nsswitch\.conf|shells)-?"
    rf"|{_ETC}(?:sudoers\.d|cron\.[a-z]+|pam\.d|profile\.d|init\.d|rc\.d|systemd(?:/.+)?|ssh|security(?:/.+)?)\Z",
    re.DOTALL,
)
_NO_LINE = re.compile(rb"(?:[ \t]*(?:#(?!include|!)[^\n]*)?\n)*[ \t]*(?:#(?!include|!)[^\n]*)?\Z")
_GRANT = re.compile(rb"^[^#\n]*\bNOPASSWD\b|^[ \t]*permit[^#\n]*\bnopass\b", re.MULTILINE)
_LIMIT = 256 << 10


def obeyed_by(path: str) -> str:
    """Return which program of root's obeys a file at this path, or empty."""
    return next((what for what, paths in _OBEYED if paths.match(path)), "")


def root_obeys(entry: Entry, facts: Facts) -> Iterator[Finding]:
    """Judge files that root's programs obey and that the target did not bring, unless they say nothing."""
    if entry.is_directory:
        return
    what = obeyed_by(entry.path)
    if not what:
        return
    if is_wanted(entry, facts):
        if what.startswith("sudo") and entry.is_file and _GRANT.search(content(entry, facts, _LIMIT)):
            yield GRANT.error(entry.path, "it makes users root without asking for a password")
        return
    head = entry.head
    if entry.is_file and head is not None and entry.info.st_size <= len(head) and _NO_LINE.match(head):
        return
    fact = f"{what} obeys it, and the target did not bring it"
    if entry.free or what == "cron, as another user":
        yield RUNS.warning(entry.path, fact)
    else:
        yield RUNS.error(entry.path, fact)


def preload(entry: Entry, facts: Facts) -> Iterator[Finding]:
    """Judge ld.so.preload(8) by the libraries that it names."""
    if entry.path != _PRELOAD or entry.is_directory:
        return
    if not entry.is_file:
        yield PRELOAD.error(entry.path, "it is not a file: what it leads to is loaded into every program")
        return
    lines = (line.partition(b"#")[0] for line in content(entry, facts, _LIMIT).split(b"\n"))
    names = [
        word.decode("utf-8", "surrogateescape")
        for line in lines
        for word in re.split(rb"[\s:]+", line)
        if word
    ]
    if not names:
        return
    known = facts.record.artifacts if facts.record is not None else facts.planned or {}
    if is_wanted(entry, facts) and all(name in known or "/" not in name for name in names):
        yield PRELOAD.note(entry.path, f"every program loads {', '.join(names[:5])}, as the target says")
    else:
        yield PRELOAD.error(entry.path, f"every program loads {', '.join(names[:5])}")


def obeyed_writable(entry: Entry, facts: Facts) -> Iterator[Finding]:
    """Judge who else can write such files, and the directories that they are in."""
    if not (entry.is_file or entry.is_directory) or (entry.free and entry.installed is None):
        return
    if not (entry.path == _PRELOAD or _TRUSTED.fullmatch(entry.path) or obeyed_by(entry.path)):
        return
    if entry.is_directory and is_sticky(entry, facts):
        return
    who = writers_of(entry, facts)
    if who:
        yield WRITABLE.error(entry.path, f"root's programs obey it, and it is writable by {who}")
