"""Write permissions: on programs and libraries, for everyone, and for the daemon."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator

from chrootbuild.audit.facts import OTHERS, WRITE, Entry, Facts, Person, Rule, ancestors, can
from chrootbuild.findings import Finding
from chrootbuild.system.rights.acl import mask_of

PROGRAM = Rule(
    "program-writable",
    "error",
    "Who can change a program or library, or the directory it is in, decides what the daemon runs at its next start.",
    "give it to root, without write for group and others: chown root, chmod go-w, setfacl -b",
)
WORLD = Rule(
    "world-writable",
    "error; warning for what the daemon itself made in its directories, and where nobody can come to it",
    "Everyone can change the file, or rename and remove what others have in the directory.",
    "chmod o-w; a directory for everyone's temporary files: mode 1777 in [directories]",
)
DAEMON = Rule(
    "daemon-writable",
    "error",
    "A daemon that was taken over could change it: outside of what is declared as the daemon's all is root's alone.",
    "chown root and chmod go-w; where the service writes there, declare the directory in [directories] or seed",
)

_PLACE = re.compile(r"/(usr/(local/)?)?(s?bin|lib(32|64|x32|exec)?)(/|\Z)")


def in_program_place(path: str) -> bool:
    """Return whether a path is, or is in, a search directory of programs or libraries."""
    return _PLACE.match(path) is not None


def _guarded(entry: Entry) -> bool:
    """Return whether write permission matters: a link has no mode, a socket or device no content."""
    return entry.is_file or entry.is_directory


def writers_of(entry: Entry, facts: Facts) -> str:
    """Return the users other than root who can write, in words; empty where nobody can."""
    info, who = entry.info, []
    if info.st_uid not in facts.trusted:
        who.append(f"its owner, uid {info.st_uid}")
    mask = mask_of(entry.acl, info.st_mode)
    group = info.st_mode >> 3 & 7 if entry.acl.group is None else entry.acl.group
    if group & mask & WRITE and info.st_gid not in facts.trusted_groups:
        who.append(f"its group, gid {info.st_gid}")
    who += [
        f"uid {uid}, by its ACL"
        for uid, bits in entry.acl.users
        if bits & mask & WRITE and uid not in facts.trusted
    ]
    who += [
        f"gid {gid}, by its ACL"
        for gid, bits in entry.acl.groups
        if bits & mask & WRITE and gid not in facts.trusted_groups
    ]
    if info.st_mode & stat.S_IWOTH:
        who.append("everyone")
    return " and ".join(who)


def program_writable(entry: Entry, facts: Facts) -> Iterator[Finding]:
    """Judge programs and libraries wherever they are, the directories above them, and the usual places."""
    if not _guarded(entry) or (entry.free and entry.installed is None):
        return
    if in_program_place(entry.path) or entry.is_program:
        who = writers_of(entry, facts)
        if who:
            kind = "a directory of programs or libraries" if entry.is_directory else "a program or library"
            what = kind if entry.is_directory or entry.is_program else "a file beside programs and libraries"
            yield PROGRAM.error(entry.path, f"{what}, writable by {who}")
    if not entry.is_program:
        return
    for above in ancestors(entry):
        if in_program_place(above.path) or is_sticky(above, facts):
            continue
        who = writers_of(above, facts)
        if who:
            yield PROGRAM.error(above.path, f"a directory above programs or libraries, writable by {who}")


def is_sticky(entry: Entry, facts: Facts) -> bool:
    """Return whether only root can rename or remove root's files in a directory."""
    return bool(entry.info.st_mode & stat.S_ISVTX) and entry.info.st_uid in facts.trusted


def world_writable(entry: Entry, facts: Facts) -> Iterator[Finding]:
    """Judge files, directories without the sticky bit, and undeclared ones with it."""
    if not _guarded(entry) or not entry.info.st_mode & stat.S_IWOTH or _is_program_part(entry):
        return
    sticky = bool(entry.info.st_mode & stat.S_ISVTX)
    if entry.is_directory and sticky and entry.free:
        return
    if entry.is_file:
        fact = "a file that everyone can write"
    elif sticky:
        fact = "a directory that everyone can write, and that is not declared"
    else:
        fact = "a directory that everyone can write, without the sticky bit"
    if OTHERS not in entry.reach and not any(person in entry.reach for person in facts.people):
        yield WORLD.warning(entry.path, f"{fact}; the directories above keep all but root away")
    elif entry.free and entry.installed is None:
        yield WORLD.warning(entry.path, f"{fact}; the daemon made it")
    else:
        yield WORLD.error(entry.path, fact)


def _is_program_part(entry: Entry) -> bool:
    """Return whether ``program_writable`` judges the entry."""
    return (in_program_place(entry.path) or entry.is_program) and not (
        entry.free and entry.installed is None
    )


def daemon_writable(entry: Entry, facts: Facts) -> Iterator[Finding]:
    """Judge paths that the daemon's users own or can write, but that are not declared as theirs."""
    if entry.free or not _guarded(entry) or entry.info.st_mode & stat.S_IWOTH or _is_program_part(entry):
        return
    for person in facts.people:
        if person not in entry.reach or _is_in_his_own(entry, person):
            continue
        kind = "a directory" if entry.is_directory else "a file"
        if entry.info.st_uid == person.uid:
            yield DAEMON.error(entry.path, f"{kind} that belongs to {person}, whom the daemon runs as")
            return
        if can(person, entry, WRITE):
            how = "the group" if entry.acl.group is None else "the group or the ACL"
            yield DAEMON.error(
                entry.path, f"{kind} that {person}, whom the daemon runs as, can write by {how}"
            )
            return


def _is_in_his_own(entry: Entry, person: Person) -> bool:
    """Return whether an installed path is in a declared directory that the daemon can write anyway."""
    return any(
        above.free and (above.info.st_uid == person.uid or can(person, above, WRITE))
        for above in ancestors(entry)
    )


FILE = Rule(
    "setuid-file",
    "error; note where `setuid` names it",
    "A setuid or setgid program, or one with capabilities, gives its rights to whoever was let in, and so a way up.",
    "remove it, or chmod u-s,g-s and setcap -r; where the service needs it, name it in setuid",
)
DIRECTORY = Rule(
    "setgid-directory",
    "note",
    "What is made in a setgid directory belongs to its group, whoever makes it.",
    "declare it in [directories], where that is meant",
)


def setuid_file(entry: Entry, facts: Facts) -> Iterator[Finding]:
    """Judge setuid, setgid (only with group execute permission: inode(7)), capabilities."""
    if not entry.is_file:
        return
    mode = entry.info.st_mode
    has = []
    if mode & stat.S_ISUID:
        has.append(f"setuid, of uid {entry.info.st_uid}")
    if mode & stat.S_ISGID and mode & stat.S_IXGRP:
        has.append(f"setgid, of gid {entry.info.st_gid}")
    if entry.capability:
        has.append("with capabilities")
    if not has:
        return
    fact = f"a program that is {' and '.join(has)}"
    if entry.path in facts.setuid:
        yield FILE.note(entry.path, f"{fact}, as the target says")
    else:
        yield FILE.error(entry.path, fact)


def setgid_directory(entry: Entry, _facts: Facts) -> Iterator[Finding]:
    """Judge setgid directories that are not declared."""
    if entry.is_directory and entry.info.st_mode & stat.S_ISGID and not entry.free and entry.info.st_gid:
        yield DIRECTORY.note(entry.path, f"a setgid directory of gid {entry.info.st_gid}")
