"""The ``chrootbuild`` program. A build with nothing to do ends here, before anything is imported."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the program with the arguments of the command line; return the exit code."""
    argv = sys.argv[1:]
    looks = None
    if "build" in argv[:3]:
        from chrootbuild.state.null_build import look_for, nothing_stale

        looks = look_for(argv)
        if nothing_stale(looks):
            return 0
    from chrootbuild.commands import main as run

    return run(argv, looks)


if __name__ == "__main__":
    sys.exit(main())
