"""Real services of Debian as target files: only what no trace could tell is in them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.support.places import SAMPLES

DATA = "/srv/ct"  # configuration and data of every case are below it

CASES: dict[str, dict[str, Any]] = {
    case["name"]: case for case in json.loads((SAMPLES / "cases.json").read_text())
}


def toml(value: object) -> str:
    """Return a TOML value on one line."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def target_file(case: Mapping[str, Any]) -> str:
    """Return a target file with the program, its configuration and data, accounts of the root alone, and the check."""
    return "\n".join(_lines(case)) + "\n"


def _lines(case: Mapping[str, Any]) -> Iterator[str]:
    yield f"binaries = {toml(case['argv'][:1])}"
    if "timezone" in case:
        yield f"timezone = {toml(case['timezone'])}"
    if "extra" in case or "extra_groups" in case:
        yield "[accounts]"
        for key in ("extra", "extra_groups"):
            yield f"{key} = {toml(case.get(key, []))}"
    yield "[directories]"
    for path, about in case.get("directories", {}).items():
        yield f"{toml(path)} = {toml(_owned(about))}"
    yield "[text]"
    for path, about in case.get("text", {}).items():
        yield f"{toml(path)} = {toml(about if isinstance(about, str) else _owned(about))}"
    yield "[check]"
    if "prepare" in case:
        yield f"prepare = {toml([case['prepare']])}"
    if "probe" not in case:
        yield f"run = [{toml({'argv': case['argv'], 'stdout': case['stdout']})}]"
        return
    yield "[check.service]"
    yield f"start = {toml(case['argv'])}"
    yield f"user = {toml(case.get('user', 'root'))}"
    yield f"env = {toml(case.get('env', {}))}"
    yield f"ready = {toml(case['ready'])}"
    yield f"probe = {toml([case['probe']])}"


def _owned(about: Mapping[str, str]) -> dict[str, str]:
    """Return a path's settings with owner and group apart, and the mode of four digits."""
    found = {key: value for key, value in about.items() if key != "owner"}
    if "mode" in found:
        found["mode"] = found["mode"].zfill(4)
    if "owner" in about:
        found["owner"], found["group"] = about["owner"].split(":")
    return found
