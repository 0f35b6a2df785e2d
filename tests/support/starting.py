"""Programs that are started in a root all the time, and say which builds of their libraries they met."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.workshop import bring_host_programs, compile_c, library

# Prints one line: every object that it runs on, with the first bytes of its build id (elf(5), PT_NOTE).
MET = r"""
#define _GNU_SOURCE
#include <link.h>
#include <stdio.h>
#include <string.h>
static int object(struct dl_phdr_info *info, size_t size, void *data) {
    const char *slash = strrchr(info->dlpi_name, '/');
    if (!slash && info->dlpi_name[0]) return 0; /* the kernel's own */
    printf("%s:", slash ? slash + 1 : "program");
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type != PT_NOTE) continue;
        const unsigned char *at = (const unsigned char *)(info->dlpi_addr + part->p_vaddr);
        const unsigned char *end = at + part->p_memsz;
        while (at + sizeof(ElfW(Nhdr)) < end) {
            const ElfW(Nhdr) *note = (const void *)at;
            const unsigned char *name = at + sizeof *note, *id = name + (note->n_namesz + 3 & ~3);
            if (note->n_type == NT_GNU_BUILD_ID && !memcmp(name, "GNU", 4))
                printf("%02x%02x%02x%02x", id[0], id[1], id[2], id[3]);
            at = id + (note->n_descsz + 3 & ~3);
        }
    }
    printf(" ");
    return 0;
}
int main(void) {
    dl_iterate_phdr(object, 0);
    return !printf("\n");
}
"""
# Starts a program again and again until /tmp/stop is there: what they say goes to /tmp/said, a line for
# each start to /tmp/starts; what fails, and what it says then, to /tmp/failed.
STARTER = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv, char **environment) {
    int flags = O_WRONLY | O_CREAT | O_APPEND, said = open("/tmp/said", flags, 0644);
    int starts = open("/tmp/starts", flags, 0644), failed = open("/tmp/failed", flags, 0644);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, said, 1);
    posix_spawn_file_actions_adddup2(&actions, failed, 2);
    while (access("/tmp/stop", F_OK)) {
        pid_t child;
        int status, error = posix_spawn(&child, argv[1], &actions, 0, argv + 1, environment);
        if (error)
            dprintf(failed, "cannot start: %d\n", error);
        else if (waitpid(child, &status, 0) != child || status)
            dprintf(failed, "ended with status %d\n", status);
        write(starts, "\n", 1);
    }
    return 0;
}
"""

# The target for what make_upgraded makes.
UPGRADED = """
sysroot = "{top}"
os = "linux"
binaries = ["/bin/sh", "/usr/bin/met"]

[directories]
"/tmp" = {{ mode = "1777" }}
"""
_BUILD_ID = b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0"  # a note's header and name, of 20 bytes of sha1


def compile_starter(folder: Path) -> Path:
    """Make the starter; its own libraries are its business: it is started once."""
    made = folder / "starter"
    if not made.exists():
        compile_c(made, STARTER, "-static")
    return made


def compile_met(path: Path, *arguments: str) -> None:
    """Make the program that tells what it met; ``arguments`` are libraries for it to need, and flags."""
    compile_c(path, MET, "-Wl,--no-as-needed", "-Wl,--build-id", "-Wl,--allow-shlib-undefined", *arguments)


def rebuilt(content: bytes) -> bytes:
    """Return an ELF file's content with another build id: another build that works as the first one does."""
    before, mark, after = content.partition(_BUILD_ID)
    return before + mark + bytes([after[0] ^ 255]) + after[1:] if mark else content


@dataclass
class Starting:
    """What is started in a root; the lines that it says while nothing changes are those of one version."""

    root: Path
    program: str
    at_rest: dict[str, str] = field(default_factory=dict)  # line -> version

    def rest(self, version: str) -> str:
        """Start the program while nothing changes: what it says is a version."""
        done = subprocess.run(
            [self.program],
            preexec_fn=lambda: os.chroot(self.root),
            capture_output=True,
            text=True,
            check=True,
        )
        self.at_rest[done.stdout] = version
        return done.stdout

    def starts(self) -> int:
        path = self.root / "tmp/starts"
        return path.stat().st_size if path.exists() else 0

    def failed(self) -> str:
        """Return what went wrong, a line for each start that failed and what the program said."""
        return (self.root / "tmp/failed").read_text()

    def counts(self) -> Counter[str]:
        """Return how many starts met each version, "mixed" those that met two."""
        found = Counter(dict.fromkeys([*self.at_rest.values(), "mixed"], 0))
        with (self.root / "tmp/said").open() as lines:
            for line in lines:
                found[self.at_rest.get(line, "mixed")] += 1
        return found

    def mixed(self) -> list[str]:
        with (self.root / "tmp/said").open() as lines:
            return [line for line in lines if line not in self.at_rest]


@contextlib.contextmanager
def starting(
    root: Path, program: str, starter: Path, *, env: Mapping[str, str] | None = None
) -> Iterator[Starting]:
    """Start a program in a root without rest; the root needs /tmp."""
    tmp = root / "tmp"
    for name in ("stop", "said", "starts", "failed"):
        (tmp / name).unlink(missing_ok=True)
    shutil.copy2(starter, tmp / "starter")
    found = Starting(root, program)
    process = subprocess.Popen(["chroot", str(root), "/tmp/starter", program], env=env)
    try:
        end = time.monotonic() + 60
        while not found.starts():
            assert time.monotonic() < end, "nothing is started"
            time.sleep(0.01)
        yield found
        (tmp / "stop").touch()
        assert process.wait(60) == 0
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def make_upgraded(top: Path) -> dict[Path, tuple[bytes, bytes]]:
    """Make a sysroot, and return two builds of each of its libraries, the loader and libc among them."""
    top.mkdir()
    bring_host_programs(top, "/bin/sh")
    where = next(top.glob("usr/lib/*/libc.so.6")).parent
    for number in range(8):
        library(where / f"libx{number}.so", f"libx{number}.so", "x", "-Wl,--build-id")
    (top / "usr/bin").mkdir(exist_ok=True)
    search = f"-Wl,-rpath,/{where.relative_to(top)}"
    compile_met(top / "usr/bin/met", search, *map(str, sorted(where.glob("libx*.so"))))
    found = {path: path.read_bytes() for path in where.iterdir() if not path.is_symlink()}
    return {path: (content, rebuilt(content)) for path, content in found.items()}


def upgrade(builds: dict[Path, tuple[bytes, bytes]], number: int) -> None:
    """Replace every library in the sysroot as a package manager does."""
    for path, contents in builds.items():
        new = path.with_name(f"{path.name}.new")
        new.write_bytes(contents[number % 2])
        new.chmod(path.stat().st_mode & 0o777)
        new.rename(path)
