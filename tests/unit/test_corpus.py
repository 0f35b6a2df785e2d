"""What fuzzing has found, once more: every parser of foreign bytes over its corpus, and each rule by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chrootbuild.artifact import Origin
from chrootbuild.hostside.freebsd import ruleset
from chrootbuild.new.make import find
from chrootbuild.plan import cache
from chrootbuild.state.project import Project
from chrootbuild.target.model import DeviceItem, Target
from tests.fuzz.targets import TARGETS
from tests.support.trace_sysroot import ELF, sysroot

CORPUS = Path(__file__).parent.parent / "corpus"


@pytest.mark.parametrize("name", TARGETS)
def test_a_parser_takes_its_corpus(name: str) -> None:
    for path in sorted((CORPUS / name).iterdir()):
        try:
            TARGETS[name](path.read_bytes())
        except Exception as error:
            raise AssertionError(f"{name} raised for {path}") from error


def test_every_parser_has_a_corpus_and_every_corpus_a_parser() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    assert all(any((CORPUS / name).iterdir()) for name in TARGETS)


def test_the_corpus_stays_small() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert max(path.stat().st_size for path in files) <= 16 << 10
    assert sum(path.stat().st_size for path in files) <= 3 << 19


def test_a_socket_unit_with_a_port_of_five_thousand_digits(tmp_path: Path) -> None:
    text = f"[Socket]\nListenStream={'1' * 5000}\nListenStream=81\n"
    host = sysroot(
        tmp_path,
        {
            "/usr/sbin/p": ELF,
            "/lib/systemd/system/p.service": "[Service]\nExecStart=/usr/sbin/p\n",
            "/lib/systemd/system/p.socket": text,
        },
    )
    assert find(host, "p").ready == "tcp:127.0.0.1:81"


def test_a_ruleset_of_five_thousand_digits_takes_no_number(tmp_path: Path) -> None:
    host = sysroot(tmp_path, {"/etc/devfs.rules": f"[a={'1' * 5000}]\nadd hide\n"})
    origin = Origin("targets/t.toml", "devices")
    name, _ = ruleset(
        Target("t", "t.toml", origin, "/r", devices=(DeviceItem("null", origin),)), "jail", host
    )
    assert name == "devfsrules_jail_t"


@pytest.mark.parametrize("name", ["a-table-that-is-a-list", "a-content-that-is-a-number"])
def test_a_kept_plan_of_another_form_is_none(tmp_path: Path, name: str) -> None:
    project = Project(str(tmp_path), str(tmp_path), f"{tmp_path}/build")
    data = (CORPUS / "plan" / name).read_text()
    data = data.replace('"HEADER"', json.dumps(cache._header("t"))).replace('"OUT"', f'"{project.out}"')
    (tmp_path / "t.plan").write_text(data)
    assert cache.cached_plan(project, "t") is None
