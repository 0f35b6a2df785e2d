"""Reader of targets/*.toml into Targets (spec.py): includes, learned files, and all rules.

A wrong target is a value too (a TargetError, by name), so that it stops no other.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from chrootbuild.command_names import RESERVED
from chrootbuild.errors import Failure, TargetError, UsageError
from chrootbuild.state.project import Project
from chrootbuild.system.rights.trust import refuse_untrusted
from chrootbuild.target import schema
from chrootbuild.target.merge import merge
from chrootbuild.target.model import Target
from chrootbuild.target.parse import Parsed, read_file
from chrootbuild.target.root_place import check_root, nested_roots
from chrootbuild.target.rules import Role, check_file
from chrootbuild.text import did_you_mean, listing, printable_or_quoted, quote

SHIPPED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "common")


@dataclass(frozen=True, slots=True)
class Targets:
    """All targets of a project, sorted by name: the valid ones, and the errors of the others."""

    targets: Mapping[str, Target]
    failures: Mapping[str, TargetError]


def read_targets(project: Project) -> Targets:
    """Read every target file of a project.

    Raises TargetError only where none can be read: as root, if another user can
    write the folder ``targets/``.
    """
    refuse_untrusted([project.targets], what="the target files", kind=TargetError)
    try:
        files = os.listdir(project.targets)
    except OSError as error:
        raise Failure(f"cannot read {project.targets}: {error.strerror}") from None
    names = [
        file.removesuffix(".toml")
        for file in files
        if file.endswith(".toml") and not file.startswith(".") and not file.endswith(".learned.toml")
    ]
    reader = _Reader(project)
    targets: dict[str, Target] = {}
    failures: dict[str, TargetError] = {}
    for name in sorted(names):
        try:
            targets[name] = reader.target(name)
        except TargetError as error:
            failures[name] = error
    failures |= (nested := nested_roots(targets))
    good = {name: target for name, target in targets.items() if name not in nested}
    return Targets(good, dict(sorted(failures.items())))


def read_target(project: Project, name: str) -> Target:
    """Read one target; raises TargetError where it is wrong, UsageError for an unknown name."""
    return select(read_targets(project), [name])[0]


def select(targets: Targets, names: Sequence[str], *, all_when_empty: bool = True) -> list[Target]:
    """Return the named targets, each once, or all that are not manual if none is named.

    Raises UsageError for an unknown name, and the TargetError of a wrong target.
    """
    if not names and all_when_empty:
        return [target for target in targets.targets.values() if not target.manual]
    for name in names:
        if name in targets.failures:
            raise targets.failures[name]
        if name not in targets.targets:
            known = sorted(map(printable_or_quoted, {*targets.targets, *targets.failures}))
            raise UsageError(
                f"cannot find a target named {quote(name)}: targets/ has {listing(known)}",
                hint=did_you_mean(name, known),
            )
    return [targets.targets[name] for name in dict.fromkeys(names)]


@dataclass(slots=True)
class _Layers:
    """Files of one target while they are read, the lowest first."""

    found: list[Parsed] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads targets of one project; a shared include is read once."""

    project: Project
    memo: dict[str, Parsed | TargetError | None] = field(default_factory=dict)

    def target(self, name: str) -> Target:
        """Read NAME.toml with its includes and learned file; raises TargetError."""
        shown = f"targets/{name}.toml"
        _check_name(name, shown)
        own = self._file(f"{self.project.targets}/{name}.toml", shown, Role.TARGET)
        if own is None:
            raise TargetError(f"cannot read {shown}: it leads nowhere")
        layers = _Layers()
        learned_path = f"{self.project.targets}/{name}.learned.toml"
        learned = self._file(learned_path, f"targets/{name}.learned.toml", Role.LEARNED)
        if learned is None:
            layers.absent.append(learned_path)
        else:
            layers.found.append(learned)
        self._add(layers, own, (name,))
        return self._merged(name, layers)

    def _merged(self, name: str, layers: _Layers) -> Target:
        own = layers.found[-1].data
        sysroot = next((layer.data.sysroot for layer in reversed(layers.found) if layer.data.sysroot), "/")
        root = os.path.join(self.project.directory, own.root) if own.root else f"{self.project.out}/{name}"
        target = merge(
            name,
            layers.found,
            root=_normal(root),
            sysroot=_normal(os.path.join(self.project.directory, sysroot)),
        )
        check_root(target, self.project)
        return replace(
            target,
            read=tuple(layer.path for layer in layers.found),
            absent=tuple(dict.fromkeys(layers.absent)),
        )

    def _add(self, layers: _Layers, parsed: Parsed, chain: tuple[str, ...]) -> None:
        """Add a file's includes, then the file itself: each once, below all that include it."""
        for index, name in enumerate(parsed.data.include):
            if name in chain[1:]:
                loop = " > ".join([*chain, name])
                raise parsed.wrong(
                    ("include", index), f"the includes go round: {loop}", "leave one of them out"
                )
            included = self._include(layers, parsed, index, name)
            if all(included.path != layer.path for layer in layers.found):
                self._add(layers, included, (*chain, name))
        layers.found.append(parsed)

    def _include(self, layers: _Layers, parsed: Parsed, index: int, name: str) -> Parsed:
        ours = f"{self.project.targets}/common/{name}.toml"
        try:
            found = self._file(ours, f"targets/common/{name}.toml", Role.INCLUDE)
            if found is None:
                layers.absent.append(ours)
                found = self._file(
                    f"{SHIPPED}/{name}.toml", f"chrootbuild/target/common/{name}.toml", Role.INCLUDE
                )
        except TargetError as error:
            by = f"included by {parsed.origin('include', index)}"
            raise TargetError(error.message, hint=error.hint, details=(*error.details, by)) from None
        if found is None:
            known = sorted({*_names(f"{self.project.targets}/common"), *_names(SHIPPED)})
            hint = did_you_mean(name, known) or f"there are {listing(known)}"
            raise parsed.wrong(("include", index), f"there is no include named {name}", hint)
        return found

    def _file(self, path: str, shown: str, role: Role) -> Parsed | None:
        if path not in self.memo:
            try:
                if not path.startswith(SHIPPED + "/"):
                    refuse_untrusted([path], what="the target file", kind=TargetError)
                parsed = read_file(path, shown)
                check_file(parsed, role)
                self.memo[path] = parsed
            except FileNotFoundError:
                self.memo[path] = None
            except TargetError as error:
                self.memo[path] = error
        known = self.memo[path]
        if isinstance(known, TargetError):
            raise known
        return known


def _check_name(name: str, shown: str) -> None:
    if not re.match(schema.NAME, name):
        tidy = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "target"
        fact, better = f"{quote(name)} is no name for a target: it has more than A-Z a-z 0-9 _ -", tidy
    elif name in RESERVED:
        fact = f"{quote(name)} is a command, so no command line could mean the target"
        better = f"{name}-root"
    elif name.startswith("-"):
        fact, better = f"{quote(name)} would be taken for an option", name.strip("-") or "target"
    else:
        return
    raise TargetError(
        f"cannot use {printable_or_quoted(shown)}: {fact}", hint=f"rename it: targets/{better}.toml"
    )


def _names(folder: str) -> list[str]:
    """Return the names of the includes in a folder."""
    try:
        files = os.listdir(folder)
    except OSError:
        return []
    names = [file.removesuffix(".toml") for file in files if file.endswith(".toml")]
    return [name for name in names if re.match(schema.NAME, name)]


def _normal(path: str) -> str:
    """Normalise a path as text; normpath would keep two leading slashes."""
    return os.path.normpath("/" + path.lstrip("/"))
