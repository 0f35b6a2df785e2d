"""A program that takes more than a check may: processes, threads, memory, files. Each way has an end of its own."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

MOST = 4000  # processes of a swarm, whatever stops them; each ends after LIFE
LIFE = 60  # seconds

SOURCE = rf"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <unistd.h>

static void rest(void) {{ for (;;) pause(); }}
static void *idle(void *none) {{ rest(); return none; }}

/* Processes that start each other, each deaf and in a session of its own, up to a number of them. */
static void swarm(long most)
{{
    long *made = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (most > {MOST}) most = {MOST};
    signal(SIGTERM, SIG_IGN);
    for (;;) {{
        alarm({LIFE});
        if (__sync_add_and_fetch(made, 1) > most) {{
            __sync_sub_and_fetch(made, 1);
            usleep(100000);
            continue;
        }}
        int child = fork();
        if (child < 0) {{ __sync_sub_and_fetch(made, 1); usleep(1000); }}
        if (child == 0) setsid();
    }}
}}

int main(int argc, char **argv)
{{
    const char *what = argv[1];
    long count = argc > 2 ? atol(argv[2]) : 0, size = count << 20;
    alarm({LIFE});
    printf("taking %s\n", what);
    fflush(stdout);
    if (!strcmp(what, "swarm")) swarm(count);
    if (!strcmp(what, "threads")) {{
        pthread_attr_t small; pthread_t one;
        pthread_attr_init(&small);
        pthread_attr_setstacksize(&small, 16384);
        for (long k = 0; k < count && k < {MOST}; k++) pthread_create(&one, &small, idle, 0);
    }}
    if (!strcmp(what, "memory")) {{
        char *block = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        for (long k = 0; k < size; k += 4096) block[k] = 1;
    }}
    if (!strcmp(what, "shared")) {{ /* once, by many: far less than the sum of what each has */
        char *block = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memset(block, 1, size);
        for (int k = 0; k < 8; k++)
            if (fork() == 0) {{
                volatile char sum = 0;
                for (long n = 0; n < size; n += 4096) sum += block[n];
                usleep(500000);
                _exit(0);
            }}
        usleep(500000);
        return 0;
    }}
    if (!strcmp(what, "memfd")) {{
        static char block[1 << 20];
        int fd = memfd_create("x", 0);
        memset(block, 1, sizeof block);
        for (long k = 0; k < count; k++) if (write(fd, block, sizeof block) < 0) break;
    }}
    if (!strcmp(what, "sysv")) {{
        int id = shmget(IPC_PRIVATE, size, IPC_CREAT | 0600);
        if (id < 0) {{ perror("shmget"); return 0; }}
        puts("got it");
        return 0;
    }}
    if (!strcmp(what, "file")) {{
        static char block[1 << 20];
        int fd = open(argv[3], O_WRONLY | O_CREAT, 0644);
        memset(block, 1, sizeof block);
        for (long k = 0; k < count; k++) if (write(fd, block, sizeof block) < 0) {{ perror(argv[3]); return 1; }}
        return 0;
    }}
    if (!strcmp(what, "names")) {{
        char path[64];
        for (long k = 0; k < count; k++) {{
            snprintf(path, sizeof path, "%s/%ld", argv[3], k);
            int fd = open(path, O_WRONLY | O_CREAT, 0644);
            if (fd < 0) {{ perror(path); return 1; }}
            close(fd);
        }}
        return 0;
    }}
    if (!strcmp(what, "calls")) {{
        char name[200];
        memset(name, 'x', sizeof name);
        name[0] = '/'; name[199] = 0;
        for (long k = 0; k < count; k++) access(name, F_OK);
        return 1;
    }}
    rest();
}}
"""


@cache
def _built() -> bytes:
    with TemporaryDirectory() as directory:
        source, program = Path(directory, "takes.c"), Path(directory, "takes")
        source.write_text(SOURCE)
        subprocess.run(["cc", "-static", "-pthread", "-O1", "-s", "-o", program, source], check=True)
        return program.read_bytes()


def bring_hungry(top: Path) -> None:
    """Put the program at /bin/takes below a directory."""
    program = top / "bin/takes"
    program.write_bytes(_built())
    program.chmod(0o755)
