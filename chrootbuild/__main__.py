"""The ``chrootbuild`` program. A build with nothing to do ends here, before anything is imported."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the signal module costs a millisecond
import sys

# Ctrl-C ends the program quietly until somebody can say so; an ignored one stays ignored.
if (__name__ == "__main__" or sys.argv[0].endswith("/chrootbuild")) and _signal.getsignal(
    _signal.SIGINT
) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


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
