"""chrootbuild learn: find what a root lacks by tracing its service."""

from __future__ import annotations

import argparse

from chrootbuild.commands import Context
from chrootbuild.console import progress, table
from chrootbuild.errors import UsageError
from chrootbuild.findings import as_text, failed
from chrootbuild.learn.rounds import LearnResult, learn, learn_from

_SHOWN = 25  # entries of one key; the learned file has all
_REFUSED = 40


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("name", metavar="NAME", help="the target; its [check] is what is traced")
    parser.add_argument(
        "--from", dest="trace", metavar="FILE", help="a text of strace, kdump or truss; runs nothing"
    )
    parser.add_argument(
        "--minimize", action="store_true", help="drop what was learned and the check does not use"
    )


def run(context: Context, args: argparse.Namespace) -> int:
    """Learn, and print additions, refusals, and whether the check passes; exit 1 if not."""
    if args.trace and args.minimize:
        raise UsageError(
            "cannot read the command line: --from runs nothing, --minimize has to",
            hint="do one, then the other",
        )
    if args.trace:
        context.say("\n".join(_lines(args.name, learn_from(context.project, args.name, args.trace))))
        return 0
    with progress(f"learn {args.name}") as bar:
        if args.minimize:
            from chrootbuild.learn.minimize import minimize

            lesson = minimize(context.project, args.name, bar)
        else:
            lesson = learn(context.project, args.name, bar)
    context.say("\n".join(_lines(args.name, lesson)))
    if failed(lesson.findings):
        context.say(as_text(args.name, lesson.findings))
        context.say(_advice(args.name, lesson))
        return 1
    notes = tuple(finding for finding in lesson.findings if finding.severity != "note")
    context.say(as_text(args.name, notes) if notes else f"{args.name}  serves")
    return 0


def _lines(name: str, lesson: LearnResult) -> list[str]:
    """Return the result, one fact per line."""
    rows: list[tuple[str, str, str]] = []
    counts: dict[str, int] = {}
    for entry in lesson.added:
        counts[entry.key] = counts.get(entry.key, 0) + 1
        if counts[entry.key] <= _SHOWN:
            rows.append((f"add {entry.key}", entry.value, entry.reason))
    rows += [
        (f"add {key}", f"{count - _SHOWN} more", f"see {lesson.file}")
        for key, count in counts.items()
        if count > _SHOWN
    ]
    rows += [(f"drop {key}", value, "the check does not use it") for key, value in lesson.dropped]
    rows += [("refuse", one.path, one.why) for one in lesson.refused[:_REFUSED]]
    if len(lesson.refused) > _REFUSED:
        rows.append(("refuse", f"{len(lesson.refused) - _REFUSED} more", ""))
    done = f"{len(lesson.dropped)} dropped" if lesson.dropped else f"{len(lesson.added)} added"
    return [
        f"{name}  {lesson.file}: {done if lesson.added or lesson.dropped else 'nothing changed'}",
        *table(rows, first=0),
    ]


def _advice(name: str, lesson: LearnResult) -> str:
    if any(one.nameable for one in lesson.refused):
        return f"hint: what was refused and the service needs all the same is yours to name in targets/{name}.toml"
    if any(finding.rule == "prepare" for finding in lesson.findings):
        return "hint: correct [check] prepare: it has to work on the host's files and on the root's"
    return (
        f"hint: nothing more is seen to be missing; chrootbuild check {name} --logs DIR keeps what was printed,"
        " and chrootbuild enter shows the root"
    )
