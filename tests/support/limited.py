"""A command in a child whose memory and processor time are bounded, as for what is read from strangers."""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path

from chrootbuild.__main__ import main

MEMORY = 1 << 30  # bytes of address space, this test program's own included
SECONDS = 60  # of processor time: what goes on without end is killed


@dataclass(frozen=True, slots=True)
class Said:
    """What a command answered."""

    code: int
    text: str  # both streams

    @property
    def errors(self) -> list[str]:
        return [line for line in self.text.splitlines() if line.startswith("error: ")]

    def decent(self) -> Said:
        """Hold it against what every command keeps to: no traceback, one clear error where it failed."""
        assert "Traceback" not in self.text, self.text[-3000:]
        assert self.code in (0, 1, 2, 3), (self.code, self.text[-3000:])
        assert "\x1b" not in self.text
        if self.code:
            assert len(self.errors) == 1, self.text[-3000:]
            assert self.errors[0].startswith("error: cannot "), self.errors
            assert len(self.text) < 20_000, f"{len(self.text)} characters: {self.text[:300]}"
        return self


def run(folder: Path, *words: str, memory: int = MEMORY) -> Said:
    """Run chrootbuild in a folder, in a child of this process."""
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if child == 0:
            status = 99
            try:
                os.chdir(folder)
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 -- not what pytest captures with
                sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
                resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
                resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
                sys.argv = ["chrootbuild", *words]
                status = main()
            except BaseException:  # noqa: BLE001 -- a child must never go on as a second pytest
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(status)
        _, waited = os.waitpid(child, 0)
        output.seek(0)
        text = output.read().decode("utf-8", "surrogateescape")
        return Said(os.waitstatus_to_exitcode(waited), text)
