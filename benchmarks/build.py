"""Builds beside make, rsync, cp, doit, jailkit and dracut-install, on the same files in one run.

    python benchmarks/build.py null 5000      nothing is stale
    python benchmarks/build.py one 5000       one library among N artifacts has changed
    python benchmarks/build.py first          the closure of all of /usr/bin and /usr/sbin
    python benchmarks/build.py grow           time and memory from 1,000 to 50,000 artifacts

Options: --runs N. Needs root, make, rsync; jailkit and dracut-core where they are installed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import Case, machine, measure, once, program, settle, table

_PER_DIRECTORY = 25
_JAILKIT = 5000  # files; filling a jail with more takes minutes


def make_tree(top: Path, count: int) -> list[Path]:
    """Make ``count`` small files in directories of 25, and return them."""
    files = []
    for number in range(count):
        file = top / f"d{number // _PER_DIRECTORY:04}" / f"f{number % _PER_DIRECTORY:02}"
        if number % _PER_DIRECTORY == 0:
            file.parent.mkdir(parents=True)
        file.write_text(f"{number}\n" * 10)
        files.append(file)
    return files


def project(top: Path, target: str) -> Path:
    """Make a project with one target file."""
    (top / "targets").mkdir(parents=True)
    (top / "targets" / "t.toml").write_text(target)
    return top


def makefile(top: Path, files: list[Path], out: Path) -> None:
    """Write the same graph for make: a copy for each file."""
    pairs = [(file, out / file.relative_to("/")) for file in files]
    rules = [f"{copy}: {file}\n\t@mkdir -p {copy.parent} && cp -p {file} {copy}" for file, copy in pairs]
    text = f"MAKEFLAGS += -rR\n.SUFFIXES:\nall: {' '.join(str(copy) for _, copy in pairs)}\n" + "\n".join(
        rules
    )
    (top / "Makefile").write_text(text + "\n")


def dodo(top: Path, files: list[Path], out: Path) -> None:
    """Write the same graph for doit as it comes."""
    pairs = json.dumps([(str(file), str(out / file.relative_to("/"))) for file in files])
    text = f"""
import json, os, shutil
def copy(source, target):
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copy2(source, target)
def task_copy():
    for source, target in json.loads({pairs!r}):
        yield {{"name": target.replace("=", "_"), "actions": [(copy, [source, target])],
               "file_dep": [source], "targets": [target]}}
"""
    (top / "dodo.py").write_text(text)


def jailkit(jail: Path, files: list[str]) -> None:
    """Fill a jail with jk_cp, which jk_update will look at."""
    jail.mkdir()
    subprocess.run(["jk_cp", "-j", str(jail), *files], check=True, capture_output=True)


def null(work: Path, count: int, runs: int) -> None:
    """Measure builds that find nothing to do."""
    files = make_tree(work / "src", count)
    ours = project(work / "ours", f'files = ["{work / "src"}/"]\n')
    (work / "make").mkdir()
    (work / "doit").mkdir()
    makefile(work / "make", files, work / "make" / "out")
    dodo(work / "doit", files, work / "doit" / "out")
    doit = str(Path(sys.executable).parent / "doit")
    here = Path(__file__).resolve().parent.parent
    for name in ("dodo.py", "pyproject.toml"):
        shutil.copy(here / name, ours / name)
    cases = [
        Case("chrootbuild build", [program(), "build", "t"], str(ours)),
        Case("make -rR", ["make", "-rR"], str(work / "make")),
        Case(
            "rsync -a --dry-run",
            ["rsync", "-a", "--dry-run", f"{work / 'src'}/", str(work / "make" / f"out{work / 'src'}")],
        ),
        Case("doit, chrootbuild's tasks", [doit], str(ours)),
        Case("doit, stock", [doit], str(work / "doit")),
    ]
    if shutil.which("jk_update") and count <= _JAILKIT:
        jailkit(work / "jail", [str(work / "src")])
        jail = str(work / "jail")
        top = "/" + (work / "src").parts[1]
        cases.append(Case("jk_update --dry-run", ["jk_update", "-j", jail, "-d", top]))
    print(f"\n### Nothing stale, {count} artifacts\n\n{table(measure(cases, runs), 'make -rR')}")


def one(work: Path, count: int, runs: int) -> None:
    """Measure a build after one file among many was replaced, as a package manager does it."""
    files = make_tree(work / "src", count)
    library = next(Path("/usr/lib/x86_64-linux-gnu").glob("libz.so.1.*"), files[0])
    changing = files[count // 2].parent / "libz.so.1"
    shutil.copy2(library, changing)
    ours = project(work / "ours", f'files = ["{work / "src"}/"]\n')
    (work / "make").mkdir()
    makefile(work / "make", [*files, changing], work / "make" / "out")

    def replaced() -> None:
        fresh = changing.with_name("libz.so.1.dpkg-new")
        content = library.read_bytes()
        fresh.write_bytes(content + os.urandom(16))
        fresh.chmod(0o644)
        os.replace(fresh, changing)

    cases = [
        Case("chrootbuild build, nothing stale", [program(), "build", "t"], str(ours)),
        Case("chrootbuild build, one library", [program(), "build", "t"], str(ours), replaced),
        Case("make -rR, one library", ["make", "-rR"], str(work / "make"), replaced),
    ]
    # The null build has to come first in each round: what comes after it changes the source.
    timed = measure([cases[1], cases[0], cases[2]], runs)
    more = timed[cases[1].name].median - timed[cases[0].name].median
    print(f"\n### One library changed among {count} artifacts\n\n{table(timed, cases[2].name)}")
    print(f"\nMore than the null build: {more:.3f} s.")


def programs() -> list[str]:
    """Return the ELF programs of /usr/bin and /usr/sbin."""
    found = []
    for directory in ("/usr/bin", "/usr/sbin"):
        for name in sorted(os.listdir(directory)):
            path = f"{directory}/{name}"
            if os.path.isfile(path) and os.access(path, os.R_OK):
                with open(path, "rb") as file:
                    if file.read(4) == b"\x7fELF":
                        found.append(path)
    return found


def first(work: Path, runs: int) -> None:
    """Measure the first build of everything, beside a plain copy of the very same files."""
    names = programs()
    ours = project(work / "ours", f"binaries = {json.dumps(names)}\n")
    once(Case("plan", [program(), "build", "t"], str(ours)))
    root = ours / "build" / "t"
    listed = [
        str(path)[len(str(root)) :]
        for path in sorted(root.rglob("*"))
        if (path.is_symlink() or path.is_file()) and os.path.lexists(str(path)[len(str(root)) :])
    ]
    size = sum(os.lstat(path).st_size for path in listed)
    (work / "list").write_text("\n".join(listed))
    copy = work / "copy"

    def nothing_built() -> None:
        for path in (root, ours / ".chrootbuild", copy, work / "jail", work / "initramfs"):
            shutil.rmtree(path, ignore_errors=True)
        copy.mkdir()
        (work / "initramfs").mkdir()
        settle()

    cases = [
        Case("chrootbuild build", [program(), "build", "t"], str(ours), nothing_built),
        Case("cp -a and sync -f", ["sh", "-c", _cp(work / "list", copy)], "/", nothing_built),
    ]
    if os.path.exists("/usr/lib/dracut/dracut-install"):
        argv = ["/usr/lib/dracut/dracut-install", "-D", str(work / "initramfs"), "-l", "-a", *names]
        cases.append(Case("dracut-install -l", argv, "/", nothing_built))
    print(f"\n### First build: {len(names)} programs, {len(listed)} files and links, {size / 1e9:.2f} GB\n")
    timed = measure(cases, runs)
    print(table(timed, "cp -a and sync -f"))
    if shutil.which("jk_cp"):
        nothing_built()
        (work / "jail").mkdir()
        slow = once(Case("jk_cp", ["jk_cp", "-j", str(work / "jail"), *names]))
        print(
            f"\njk_cp, once: {slow[0]:.1f} s, {slow[0] / timed['chrootbuild build'].median:.1f} times chrootbuild."
        )


def _cp(listed: Path, copy: Path) -> str:
    """Return a script that copies a list of files with cp -a, directory by directory."""
    return (
        f"cd / && xargs -n1 dirname <{listed} | sort -u | sed 's,^,{copy},' | xargs mkdir -p && "
        f'awk \'{{ d=$0; sub(/\\/[^\\/]*$/, "", d); f[d]=f[d] " " $0 }} '
        f'END {{ for (d in f) print "cp -a -t {copy}" d f[d] }}\' {listed} | sh && sync -f {copy}'
    )


def grow(work: Path, runs: int) -> None:
    """Measure how time and memory grow with the number of artifacts."""
    rows = ["| artifacts | first build s | null build s | one changed s | MB |", "|---|---|---|---|---|"]
    for count in (1000, 5000, 20000, 50000):
        top = work / str(count)
        files = make_tree(top / "src", count)
        ours = project(top / "ours", f'files = ["{top / "src"}/"]\n')
        build = Case("build", [program(), "build", "t"], str(ours))
        begun = once(build)
        timed = measure([build], runs)["build"]
        files[count // 2].write_text("changed\n")
        changed = once(build)
        memory = max(begun[2], changed[2]) / 1024
        rows.append(f"| {count} | {begun[0]:.2f} | {timed.median:.3f} | {changed[0]:.3f} | {memory:.0f} |")
        shutil.rmtree(top)
    print("\n### Growth\n\n" + "\n".join(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["null", "one", "first", "grow"])
    parser.add_argument("count", type=int, nargs="?", default=5000)
    parser.add_argument("--runs", type=int, default=7)
    args = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCHMARK_DIR", "/var/lib")) as name:
        work = Path(name)
        if args.what == "null":
            null(work, args.count, args.runs)
        elif args.what == "one":
            one(work, args.count, args.runs)
        elif args.what == "first":
            first(work, args.runs)
        else:
            grow(work, args.runs)


if __name__ == "__main__":
    main()
