"""Tools left behind from the root's set-up, and programs that were not installed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chrootbuild.audit.facts import Entry, Facts, Rule, is_wanted
from chrootbuild.audit.rules.permissions import in_program_place
from chrootbuild.findings import Finding

TOOL = Rule(
    "left-behind",
    "warning; note for a shell that was installed or is named in `binaries`, for interpreters and editors",
    "Tools that set a root up serve those who break in as well: shells, compilers, package managers, debuggers.",
    "leave it out of the target; what is needed only while you work in the root: [build] temporary",
)
FOREIGN = Rule(
    "foreign-program",
    "error among programs and libraries; warning where the daemon can write",
    "A program that was not installed came from somebody else, and the daemon may be led to run it.",
    "look at it and remove it; where it belongs there, name it in the target",
)

# Kind, pattern of the whole file name, and whether it is only a note.
_TOOLS = tuple(
    (what, re.compile(rf"(?:{names})\Z"), quiet)
    for what, names, quiet in (
        ("a shell", "(?:ba|da|z|k|mk|pdk|oks|c|tc|fi|a|r|rba)?sh|ksh93|busybox|toybox", False),
        ("an interpreter", r"(?:perl|python|ruby|php|lua|luajit|tclsh|wish|node|guile)[0-9.]*", True),
        ("an editor", r"vi|n?vi[0-9]*|vim?(?:\.[a-z]+)?|ex|ed|ee|nano|emacs.*|pico|joe", True),
        (
            "a compiler",
            (
                r"(?:.*-)?(?:cc|gcc|g\+\+|c\+\+|clang|clang\+\+|cpp|tcc|ld|ld\.(?:bfd|gold|lld)|as|rustc|go|ghc)(?:-?[0-9.]+)?"
                "|g?make|bmake"
            ),
            False,
        ),
        (
            "a package manager",
            (
                r"dpkg(?:-deb)?|apt(?:-get|-cache)?|aptitude|rpm|dnf[0-9]*|yum|zypper|pacman|apk|snap|flatpak|pip[0-9.]*|npm|gem"
                "|pkg(?:-static|_add|_delete|_info)?|freebsd-update|portsnap"
            ),
            False,
        ),
        (
            "a debugger or tracer",
            r"gdb(?:server)?|lldb(?:-[0-9]+)?|strace|ltrace|perf|bpftrace|ktrace|kdump|truss|dtrace|tcpdump",
            False,
        ),
        (
            "a tool for accounts",
            (
                "pw|vipw|vigr|pwd_mkdb|cap_mkdb|user(?:add|mod|del)|group(?:add|mod|del)|adduser|addgroup|deluser|rmuser"
                "|passwd|chpasswd|chage|chsh|chfn|chpass|newusers|usermod"
            ),
            False,
        ),
        ("a way to another user", "su|sudo|doas|runuser|pkexec|setpriv|capsh", False),
        (
            "a tool of the system's administrator",
            (
                "u?mount(?:_[a-z0-9]+)?|chroot|pivot_root|switch_root|unshare|nsenter|mknod|losetup|kexec|insmod|modprobe|rmmod"
                "|kld(?:load|unload)|jail|jexec|sysctl|setcap|debugfs|fdisk"
            ),
            False,
        ),
        ("the cache maker of the run-time linker", r"ldconfig(?:\.real)?", False),
    )
)


def left_behind(entry: Entry, facts: Facts) -> Iterator[Finding]:
    """Judge programs by their name; links to one are not counted again."""
    if not entry.is_program or not entry.info.st_mode & 0o111:
        return
    for what, names, quiet in _TOOLS:
        if not names.match(entry.name):
            continue
        named = entry.path in facts.named
        if what == "a shell" and (named or is_wanted(entry, facts)):
            how = "as the target says" if named else "that something installed runs, or `files` brought"
            yield TOOL.note(entry.path, f"{what}, {how}")
        elif quiet or entry.path in facts.setuid:
            yield TOOL.note(entry.path, what)
        else:
            by = ", though the target names it" if named else ""
            yield TOOL.warning(entry.path, f"{what}{by}")
        return


def foreign_program(entry: Entry, facts: Facts) -> Iterator[Finding]:
    """Judge programs that are not in the record, without one those that no build would install."""
    if is_wanted(entry, facts) or (facts.record is None and facts.planned is None):
        return
    if not entry.free and in_program_place(entry.path) and not entry.is_directory:
        yield FOREIGN.error(entry.path, "it was not installed, and programs or libraries are searched there")
    elif entry.is_program and entry.info.st_mode & 0o111 and entry.free:
        yield FOREIGN.warning(entry.path, "a program that was not installed, in a directory of the daemon's")
    elif entry.is_program and not entry.free:
        yield FOREIGN.warning(entry.path, "a program or library that was not installed")
