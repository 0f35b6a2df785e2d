"""The house: which package may import which, and how large its rooms may be.

The package is a stack of layers. A module imports from its own package, from the packages above it in
LAYERS, and from nothing else; imports within functions and under TYPE_CHECKING count as well.
"""

from __future__ import annotations

import ast
import fnmatch
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

LAYERS = """
values      artifact command_names errors findings paths text output console: the values and the words of all
system      the kernel's interface: system calls, descriptors, files, mounts, processes, trust
state       what is kept between runs: places, stamp, project, record, lock; the null build
target      TOML -> Target
sysroot     the one reader of the tree that sources come from
elf         ELF bytes -> facts
rtld        facts -> closure, as the run-time linkers search
accounts    passwd, group, shadow, master.passwd and FreeBSD's databases, as functions over bytes
plan        Target + Sysroot -> Plan; never looks at a root
root        the one writer's hands: descriptors, copies, staging, seeds
compare     Plan + record + root -> what is stale, and why; drift
publish     staged -> in place, in an order in which every program can be started
build       all of it for one target; doit's view of it
trace       strace, kdump, truss text -> events
propose     events - plan -> proposals
sandbox     namespaces, overlays and cut privileges
check       the trial of a root, and the proof that it serves
enter       a shell or command inside a root
learn       trial under trace -> NAME.learned.toml, round by round
audit       facts about a root -> findings
sync        roots kept true: refresh, rollback, watch
hostside    the host's side of a root, its schedules, and their installer
new         a first target file from what is installed
commands    a verb a file
faces       tasks __main__: what dodo.py and the shell start with
"""

PACKAGE = Path(__file__).parent.parent / "chrootbuild"
TESTS = Path(__file__).parent
MOST_MODULES = 12  # in a folder
ROOMY = {"commands", "audit/rules"}  # a verb a file, a group of rules a file
MOST_LINES = 300  # of a module
SMALL = 30  # lines of code: such a module wants a neighbour

# A library of others is imported in its own room alone.
LIBRARIES = {
    "doit": ("build/doit_", "commands/as_doit.py"),
    "elftools": ("elf/",),
    "msgspec": ("target/",),
    "watchdog": ("sync/events.py",),
    "rich": ("console.py",),
}


def _layers() -> dict[str, int]:
    rank: dict[str, int] = {}
    for number, line in enumerate(LAYERS.strip().splitlines()):
        name, words = line.split(maxsplit=1)
        files = words.partition(":")[0].split() if name in ("values", "faces") else [name]
        rank |= dict.fromkeys(files, number)
    return rank


def _modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


RANK = _layers()
MODULES = _modules()
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def imports(name: str) -> set[str]:
    """Return every dotted name that a module imports, at its top, within a function or for types alone."""
    found: set[str] = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: import by the full name"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
            found.add(node.module or "")
    return found


def edges() -> Iterator[tuple[str, str]]:
    """Yield which module imports which; a name out of a module counts as the module."""
    for name in MODULES:
        for used in imports(name) & MODULES.keys():
            if used != name and not (used in ("chrootbuild", "chrootbuild.commands") or _is_package(used)):
                yield name, used


def _is_package(name: str) -> bool:
    return MODULES[name].name == "__init__.py" and not _code(name)


def _code(name: str) -> int:
    """Return the lines of code of a module: without docstrings, comments and blank lines."""
    said: set[int] = set()
    for node in ast.walk(TREES[name]):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            said |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    lines = MODULES[name].read_text().splitlines()
    return sum(
        number not in said and bool(line.strip()) and not line.strip().startswith("#")
        for number, line in enumerate(lines, 1)
    )


def _layer(name: str) -> int:
    return RANK[name.split(".")[1]] if "." in name else 0


def test_every_package_is_in_the_list_of_layers() -> None:
    rooms = {name.split(".")[1] for name in MODULES if "." in name}
    assert rooms == set(RANK)


def test_no_import_leads_upward() -> None:
    assert [f"{one} -> {two}" for one, two in edges() if _layer(two) > _layer(one)] == []


def test_no_circle() -> None:
    after: dict[str, set[str]] = {name: set() for name in MODULES}
    for one, two in edges():
        after[one].add(two)
    while free := [name for name, used in after.items() if not used & after.keys()]:
        for name in free:
            del after[name]
    assert sorted(after) == [], "each of these is in a circle, or leads to one"


def test_no_folder_is_crowded() -> None:
    count: dict[str, int] = {}
    for path in MODULES.values():
        if path.name != "__init__.py":
            folder = path.parent.relative_to(PACKAGE).as_posix()
            count[folder] = count.get(folder, 0) + 1
    assert {name: n for name, n in count.items() if n > MOST_MODULES and name not in ROOMY} == {}


def test_a_module_is_one_idea() -> None:
    lines = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}
    inside = {
        name: _code(name)
        for name, path in MODULES.items()
        if path.name != "__init__.py" and ".commands." not in name
    }
    assert 90 <= statistics.median(inside.values()) <= 150
    assert len([name for name, count in inside.items() if count < SMALL]) <= len(inside) // 20


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_is_used_where_it_belongs(library: str) -> None:
    users = {
        path.relative_to(PACKAGE).as_posix()
        for name, path in MODULES.items()
        if any(used == library or used.startswith(f"{library}.") for used in imports(name))
    }
    assert [user for user in sorted(users) if not user.startswith(LIBRARIES[library])] == []


def test_what_a_run_finds_out_is_handed_on_and_not_left_in_a_module() -> None:
    gone = {"STALE", "FAILED", "_KEPT", "_STAGES"}
    used = {
        (name, node.id)
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id in gone
    }
    changed = {
        (name, word)
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Global)
        for word in node.names
    }
    assert used | changed == set()


def test_the_null_build_imports_next_to_nothing(tmp_path: Path) -> None:
    targets = tmp_path / "targets"
    targets.mkdir(mode=0o755)
    (targets / "x.toml").write_text('[text]\n"/etc/motd" = "hello\\n"\n')
    build = f"import sys; sys.argv = ['chrootbuild', '-C', {str(tmp_path)!r}, 'build']\n"
    build += "from chrootbuild.__main__ import main\n"
    build += "code = main()\nprint(code, *sorted(sys.modules))"
    runs = [
        subprocess.run([sys.executable, "-c", build], capture_output=True, text=True, cwd=PACKAGE.parent)
        for _ in range(3)
    ]
    code, *loaded = runs[-1].stdout.split()
    assert (code, runs[-1].stderr) == ("0", "")
    ours = [name for name in loaded if name.partition(".")[0] == "chrootbuild"]
    assert len(ours) <= 6, ours
    assert not {"doit", "elftools", "msgspec", "rich", "tomllib", "watchdog"} & set(loaded)


def test_no_folder_of_tests_is_left_out(request: pytest.FixtureRequest) -> None:
    """By default pytest enters no folder that is called build."""
    left_out = request.config.getini("norecursedirs")
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}
    names = {name for folder in folders for name in folder.parts}
    assert {name for name in names for pattern in left_out if fnmatch.fnmatch(name, pattern)} == set()
