"""Runs a fuzzer for some seconds, and keeps of what it found what reaches new code.

``python -m tests.fuzz elf --seconds 600``; ``all`` runs every one in turn. An input that raised or
was slow is put aside, named for what it did, and the run goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import TraceFunction

CORPUS = Path(__file__).parent.parent / "corpus"
TOP = CORPUS.parent.parent
_MOST = 60  # inputs in the corpus of a parser
_SLOW = 2.0  # seconds of the processor
_MEGABYTES = 2048  # of memory, for the whole process
_PACKAGES = ["chrootbuild", "elftools", "tomllib", "shlex"]

_Target = Callable[[bytes], None]
_Step = tuple[object, int, int]  # in this code, from this line to that


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("name", help="a folder of tests/corpus, or all")
    parser.add_argument("--seconds", type=int, default=60, help="how long each fuzzer runs")
    parser.add_argument("--largest", type=int, default=8192, help="bytes of an input")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)  # the fuzzing process itself
    options = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        parser.exit(1, "error: cannot fuzz: atheris is not installed\nhint: pip install atheris\n")
    if options.into is not None:
        _fuzz(options.name, options.seconds, options.largest, options.into)
        return
    from tests.fuzz.targets import TARGETS

    if options.name != "all" and options.name not in TARGETS:
        parser.exit(2, f"error: cannot find a fuzzer named {options.name}: there are {', '.join(TARGETS)}\n")
    for name in TARGETS if options.name == "all" else (options.name,):
        with tempfile.TemporaryDirectory(prefix=f"fuzz-{name}-") as folder:
            argv = [sys.executable, "-m", "tests.fuzz", name, "--into", folder]
            argv += [f"--seconds={options.seconds}", f"--largest={options.largest}"]
            subprocess.run(argv, check=False, cwd=TOP)
            _keep(name, TARGETS[name], Path(folder))


# -- the run -------------------------------------------------------------------------------


def _fuzz(name: str, seconds: int, largest: int, into: Path) -> None:
    """Fuzz until the time is over; this process ends with it."""
    tempfile.tempdir = str(into)  # libFuzzer ends the process without a chance to clean up
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=_PACKAGES):
        targets = importlib.import_module("tests.fuzz.targets").TARGETS
        words = importlib.import_module("tests.fuzz.words").WORDS.get(name, ())
    found, dictionary = into / "found", into / "words"
    found.mkdir()
    (CORPUS / name).mkdir(parents=True, exist_ok=True)
    quoted = ("".join(f"\\x{byte:02x}" for byte in word) for word in words)
    dictionary.write_text("".join(f'"{word}"\n' for word in quoted if word))
    options = {"max_total_time": seconds, "max_len": largest, "timeout": 60, "rss_limit_mb": _MEGABYTES,
               "artifact_prefix": f"{into}/died-", "print_final_stats": 1}  # fmt: skip
    flags = [f"-{key}={value}" for key, value in options.items()]
    if words:
        flags.append(f"-dict={dictionary}")
    argv = [sys.argv[0], *flags, str(found), str(CORPUS / name)]
    atheris.Setup(argv, _putting_aside(targets[name], into))
    atheris.Fuzz()


def _putting_aside(function: _Target, into: Path) -> _Target:
    """Return a function that writes down what raises or is slow, once for each place, and goes on."""
    seen: set[str] = set()

    def run(data: bytes) -> None:
        began, label = time.process_time(), ""
        try:
            function(data)
        except Exception as error:  # noqa: BLE001 -- any is a find
            frame = traceback.extract_tb(error.__traceback__)[-1]
            label = f"{type(error).__name__}-{Path(frame.filename).stem}-{frame.name}"
            if label not in seen:
                traceback.print_exc()
        if not label and time.process_time() - began > _SLOW:
            label = "slow"
        if label and label not in seen:
            seen.add(label)
            (into / f"{label}-{_hash(data)}").write_bytes(data)

    return run


# -- what is kept --------------------------------------------------------------------------


def _hash(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()[:12]


def _keep(name: str, function: _Target, folder: Path) -> None:
    """Make the corpus anew: the smallest inputs that reach what all of them reach, and those that failed once."""
    corpus = CORPUS / name
    named = [path for path in corpus.iterdir() if "-" in path.name]
    failed = [path for path in folder.iterdir() if path.is_file() and path.name != "words"]
    for path in failed:
        named.append(corpus / path.name)
        named[-1].write_bytes(path.read_bytes())
        print(f"{name}: {path.name}: see tests/corpus/{name}")
    others = [path for path in (*corpus.iterdir(), *(folder / "found").glob("*")) if path not in named]
    kept = spread(function, {path.read_bytes() for path in others})
    for path in corpus.iterdir():
        if path not in named:
            path.unlink()
    for data in kept:
        (corpus / _hash(data)).write_bytes(data)
    print(f"{name}: {len(kept)} of {len(others)} inputs kept, {sum(map(len, kept))} bytes")


def spread(function: _Target, inputs: Iterable[bytes]) -> list[bytes]:
    """Return the inputs that together take the most steps from line to line, of equal ones the smaller."""
    steps = {data: _steps(function, data) for data in sorted(inputs, key=lambda data: (len(data), data))}
    left: set[_Step] = set().union(*steps.values())
    kept: list[bytes] = []
    while left and len(kept) < _MOST:
        best = max(steps, key=lambda data: len(steps[data] & left))
        left -= steps[best]
        kept.append(best)
    return kept


def _steps(function: _Target, data: bytes) -> set[_Step]:
    steps: set[_Step] = set()
    ours = tuple(f"{os.sep}{package}{os.sep}" for package in _PACKAGES)

    def enter(frame: FrameType, _event: str, _arg: object) -> TraceFunction | None:
        code, before = frame.f_code, 0
        if not any(package in code.co_filename for package in ours):
            return None

        def step(frame: FrameType, event: str, _arg: object) -> TraceFunction:
            nonlocal before
            if event == "line":
                steps.add((code, before, frame.f_lineno))
                before = frame.f_lineno
            return step

        return step

    sys.settrace(enter)
    try:
        function(data)
    except Exception:  # noqa: BLE001 -- it is kept under a name, too
        return set()
    finally:
        sys.settrace(None)
    return steps


if __name__ == "__main__":
    main()
