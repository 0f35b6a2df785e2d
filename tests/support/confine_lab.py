"""Small real roots and programs for the tests of confine and check."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

# One static program that does what its words say, in their order.
SOURCE = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void fail(const char *what) { fprintf(stderr, "%s: %s\n", what, strerror(errno)); exit(1); }
static void tell(const char *what, int result)
{
    if (result < 0) printf("%s: %s\n", what, strerror(errno)); else printf("%s: done\n", what);
    fflush(stdout);
}

static void serve(int fd, int stream)
{
    char text[64];
    for (;;) {
        if (stream) {
            int c = accept(fd, 0, 0);
            if (c < 0) continue;
            int n = snprintf(text, sizeof text, "hello from uid %d\n", getuid());
            if (write(c, text, n) < 0) perror("write");
            close(c);
        } else {
            struct sockaddr_storage peer; socklen_t size = sizeof peer;
            int n = recvfrom(fd, text, sizeof text, 0, (void *)&peer, &size);
            if (n >= 0) sendto(fd, text, n, 0, (void *)&peer, size);
        }
    }
}

static int bound(const char *kind, const char *address, const char *port)
{
    int type = kind[0] == 'u' ? SOCK_DGRAM : SOCK_STREAM, one = 1, fd;
    if (strchr(address, ':')) {
        struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(atoi(port)) };
        inet_pton(AF_INET6, address, &a.sin6_addr);
        fd = socket(AF_INET6, type, 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(fd, (void *)&a, sizeof a)) fail("bind");
    } else {
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };
        inet_pton(AF_INET, address, &a.sin_addr);
        fd = socket(AF_INET, type, 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(fd, (void *)&a, sizeof a)) fail("bind");
    }
    if (type == SOCK_STREAM) listen(fd, 5);
    return fd;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        char *word = argv[i];
        if (!strcmp(word, "need")) {
            int fd = open(argv[++i], O_RDONLY);
            if (fd < 0) fail(argv[i]);
            close(fd);
        } else if (!strcmp(word, "say")) { puts(argv[++i]); fflush(stdout); }
        else if (!strcmp(word, "complain")) { fprintf(stderr, "%s\n", argv[++i]); }
        else if (!strcmp(word, "env")) { for (char **e = environ; *e; e++) puts(*e); fflush(stdout); }
        else if (!strcmp(word, "id")) { printf("%d:%d", getuid(), getgid());
            gid_t g[64]; int n = getgroups(64, g);
            for (int k = 0; k < n; k++) printf("+%d", g[k]);
            puts(""); fflush(stdout); }
        else if (!strcmp(word, "write")) {
            int fd = open(argv[++i], O_WRONLY | O_CREAT | O_TRUNC, 0644);
            if (fd < 0) fail(argv[i]);
            if (write(fd, "written\n", 8) != 8) fail(argv[i]);
            close(fd);
        } else if (!strcmp(word, "cat")) {
            char text[4096]; int n, fd = open(argv[++i], O_RDONLY);
            if (fd < 0) fail(argv[i]);
            while ((n = read(fd, text, sizeof text)) > 0) if (write(1, text, n) < 0) fail("write");
            close(fd);
        } else if (!strcmp(word, "spam")) {
            static char block[1 << 16]; long left = atol(argv[++i]);
            memset(block, 'x', sizeof block); block[sizeof block - 1] = '\n';
            for (; left > 0; left -= sizeof block) if (write(1, block, sizeof block) < 0) fail("write");
        } else if (!strcmp(word, "binary")) { for (int k = 0; k < 256; k++) putchar(k); fflush(stdout); }
        else if (!strcmp(word, "background")) {
            if (fork()) exit(0);
            setsid();
            if (fork()) exit(0);
        } else if (!strcmp(word, "fork-and-die")) { if (fork()) exit(0); usleep(50000); exit(3); }
        else if (!strcmp(word, "deaf")) { signal(SIGTERM, SIG_IGN); }
        else if (!strcmp(word, "sleep")) { for (;;) pause(); }
        else if (!strcmp(word, "crash")) { raise(SIGSEGV); }
        else if (!strcmp(word, "exit")) { exit(atoi(argv[++i])); }
        else if (!strcmp(word, "umask")) { printf("%03o\n", umask(0)); fflush(stdout); }
        else if (!strcmp(word, "sigpipe")) {
            printf("%s\n", signal(SIGPIPE, SIG_DFL) == SIG_DFL ? "default" : "ignored");
            fflush(stdout);
        }
        else if (!strcmp(word, "fds")) {
            for (int k = 0; k < 1024; k++) if (fcntl(k, F_GETFD) >= 0) printf("%d ", k);
            puts("");
            fflush(stdout);
        }
        else if (!strcmp(word, "uid")) { if (setuid(atoi(argv[++i]))) fail("setuid"); }
        else if (!strcmp(word, "mknod")) { tell("mknod", mknod("/tmp/node", S_IFBLK | 0600, makedev(254, 0))); }
        else if (!strcmp(word, "mount")) { tell("mount", mount("none", "/tmp", "tmpfs", 0, "")); }
        else if (!strcmp(word, "kill")) { int n = atoi(argv[++i]); tell("kill", kill(atoi(argv[++i]), n)); }
        else if (!strcmp(word, "attach")) { tell("attach", ptrace(PTRACE_ATTACH, atoi(argv[++i]), 0, 0)); }
        else if (!strcmp(word, "call")) { /* a system call by its number, and three arguments */
            long n[4];
            for (int k = 0; k < 4; k++) n[k] = strtol(argv[++i], 0, 0);
            tell("call", syscall(n[0], n[1], n[2], n[3]));
        }
#ifdef __x86_64__
        else if (!strcmp(word, "call-as-i386")) {
            int n[4], got;
            for (int k = 0; k < 4; k++) n[k] = strtol(argv[++i], 0, 0);
            asm volatile("int $0x80" : "=a"(got) : "a"(n[0]), "b"(n[1]), "c"(n[2]), "d"(n[3])
                         : "memory", "r8", "r9", "r10", "r11");
            errno = -got;
            tell("call-as-i386", got);
        }
#endif
        else if (!strcmp(word, "unshare")) { tell("unshare", unshare(CLONE_NEWNS)); }
        else if (!strcmp(word, "break-out")) { /* chroot(2): the classic way out of a chroot */
            mkdir("/tmp/deeper", 0700);
            if (chroot("/tmp/deeper")) fail("chroot");
            for (int k = 0; k < 64; k++) if (chdir("..")) fail("chdir");
            if (chroot(".")) fail("chroot");
        } else if (!strcmp(word, "connect")) {
            struct sockaddr_un a = { .sun_family = AF_UNIX };
            strncpy(a.sun_path, argv[++i], sizeof a.sun_path - 1);
            tell("connect", connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&a, sizeof a));
        } else if (!strcmp(word, "tcp") || !strcmp(word, "udp")) {
            int fd = bound(word, argv[i + 1], argv[i + 2]); i += 2;
            if (i + 1 < argc) continue; /* the words after it come first, then it is not served */
            serve(fd, word[0] == 't');
        } else if (!strcmp(word, "tcp-as")) { /* bound as root, served as another user, like a daemon */
            int fd = bound("tcp", argv[i + 1], argv[i + 2]);
            if (setgid(atoi(argv[i + 3])) || setuid(atoi(argv[i + 3]))) fail("setuid");
            serve(fd, 1);
        } else if (!strcmp(word, "unix")) {
            struct sockaddr_un a = { .sun_family = AF_UNIX };
            strncpy(a.sun_path, argv[++i], sizeof a.sun_path - 1);
            unlink(a.sun_path);
            int fd = socket(AF_UNIX, SOCK_STREAM, 0);
            if (bind(fd, (void *)&a, sizeof a)) fail(a.sun_path);
            listen(fd, 5);
            serve(fd, 1);
        } else { fprintf(stderr, "what is %s?\n", word); exit(2); }
    }
    return 0;
}
"""


@cache
def _built() -> bytes:
    with TemporaryDirectory() as directory:
        source, program = Path(directory, "does.c"), Path(directory, "does")
        source.write_text(SOURCE)
        subprocess.run(["cc", "-static", "-O1", "-s", "-o", program, source], check=True)
        return program.read_bytes()


def make_root(where: Path, *directories: str) -> Path:
    """Make a root with the program at /bin/does, some directories and /tmp."""
    for name in ("bin", "tmp", *directories):
        (where / name).mkdir(parents=True, exist_ok=True)
    os.chmod(where, 0o755)
    os.chmod(where / "tmp", 0o1777)
    program = where / "bin/does"
    program.write_bytes(_built())
    program.chmod(0o755)
    return where


@dataclass(frozen=True)
class Leftovers:
    """What a box could leave: mounts, children of this process, names in /tmp."""

    mounts: frozenset[str]
    children: frozenset[int]
    names: frozenset[str]


def leftovers() -> Leftovers:
    """Look for what boxes leave; others may use the machine meanwhile."""
    mounts = [
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if "chrootbuild-box-" in line
    ]
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    names = [name for name in os.listdir("/tmp") if name.startswith("chrootbuild-box-")]
    return Leftovers(frozenset(mounts), frozenset(map(int, children)), frozenset(names))


def running(word: str) -> list[int]:
    """Return the pids of all processes on this machine that have a word among their arguments."""
    found = []
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and word.encode() in Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0"):
                found.append(int(name))
        except OSError:
            continue
    return found
