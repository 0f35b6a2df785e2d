"""The ``chrootbuild`` program. A build with nothing to do ends here, before anything is imported."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> int:
    """Run the program with the arguments of the command line; return the exit code."""
    argv = sys.argv[1:]
    if "build" in argv[:3]:
        from chrootbuild.quick import nothing_to_do

        if nothing_to_do(argv):
            return 0
    from chrootbuild.commands import main as run

    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
