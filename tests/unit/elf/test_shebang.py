"""The #! line: what the kernel starts, what env runs, and what comes with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chrootbuild.elf import shebang
from chrootbuild.errors import Failure
from chrootbuild.rtld.model import Closure, Missing, Via
from chrootbuild.rtld.resolver import Resolver
from chrootbuild.sysroot.reader import Sysroot
from tests.support.elf_builder import Elf


@pytest.mark.parametrize(
    ("head", "interpreter", "program"),
    [
        (b"#!/bin/sh\n", "/bin/sh", ""),
        (b"#! \t/bin/sh -eu\nrest", "/bin/sh", ""),
        (b"#!/bin/sh", "/bin/sh", ""),
        (b"#!/bin/sh\0x\n", "/bin/sh", ""),
        (b"#!/bin/sh\r\n", "/bin/sh\r", ""),
        (b"#!/usr/bin/perl\t-w\n", "/usr/bin/perl", ""),
        (b"#!sh\n", "sh", ""),
        (b"#!/usr/bin/env python3\n", "/usr/bin/env", "python3"),
        (b"#!/usr/bin/env /opt/python\n", "/usr/bin/env", "/opt/python"),
        (b"#!/usr/bin/env\n", "/usr/bin/env", ""),
        # Without -S env gets the rest of the line as one word.
        (b"#!/usr/bin/env python3 -u\n", "/usr/bin/env", "python3 -u"),
        (b"#!/usr/bin/env -S python3 -u\n", "/usr/bin/env", "python3"),
        (b"#!/usr/bin/env -Spython3 -u\n", "/usr/bin/env", "python3"),
        (b"#!/usr/bin/env -vS python3\n", "/usr/bin/env", "python3"),
        (b"#!/usr/bin/env --split-string=python3 -u\n", "/usr/bin/env", "python3"),
        (b"#!/usr/bin/env -S A=1 -i -u B C=2 'my prog' x\n", "/usr/bin/env", "my prog"),
        (b"#!/usr/bin/env -S -C /tmp prog\n", "/usr/bin/env", "prog"),
        (b"#!/usr/bin/env -S 'open\n", "/usr/bin/env", "'open"),
        (b"#!/usr/bin/env -S A=1\n", "/usr/bin/env", ""),
    ],
)
def test_first_lines(head: bytes, interpreter: str, program: str) -> None:
    assert shebang.parse(head) == shebang.Script(interpreter, program)


@pytest.mark.parametrize("head", [b"", b"#!", b"#!\n", b"#! \t \n/bin/sh", b" #!/bin/sh", b"/bin/sh"])
def test_what_is_no_first_line(head: bytes) -> None:
    assert shebang.parse(head) is None


def put(root: Path, path: str, data: bytes) -> None:
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    file.chmod(0o755)


STATIC = Elf(type=2).build()


def test_interpreter_and_program_come_each_with_its_closure(tmp_path: Path) -> None:
    put(tmp_path, "/usr/bin/env", Elf(interpreter="/ld.so").build())
    put(tmp_path, "/ld.so", Elf().build())
    put(tmp_path, "/usr/bin/tool", b"#!/bin/dash\n")
    put(tmp_path, "/bin/dash", STATIC)
    put(tmp_path, "/x", b"#!/usr/bin/env tool\n")
    closure = Resolver(Sysroot(str(tmp_path))).program("/x")
    assert closure.kind == "script"
    assert [(load.path, load.by, load.via, load.words) for load in closure.loads] == [
        ("/usr/bin/env", "/x", Via.INTERPRETER, "has /usr/bin/env as its interpreter"),
        ("/ld.so", "/usr/bin/env", Via.INTERPRETER, "has /ld.so as its interpreter"),
        ("/usr/bin/tool", "/x", Via.ENV, "runs tool by env"),
        ("/bin/dash", "/usr/bin/tool", Via.INTERPRETER, "has /bin/dash as its interpreter"),
    ]


def test_a_program_of_env_is_looked_up_in_the_standard_path_in_order(tmp_path: Path) -> None:
    put(tmp_path, "/bin/env", STATIC)
    put(tmp_path, "/bin/tool", STATIC)
    put(tmp_path, "/usr/sbin/tool", STATIC)
    put(tmp_path, "/x", b"#!/bin/env tool\n")
    assert Resolver(Sysroot(str(tmp_path))).program("/x").loads[-1].path == "/usr/sbin/tool"


def test_what_is_missing_names_the_script_and_the_places(tmp_path: Path) -> None:
    put(tmp_path, "/bin/env", STATIC)
    put(tmp_path, "/x", b"#!/bin/env tool\n")
    put(tmp_path, "/y", b"#!/bin/none\n")
    put(tmp_path, "/z", b"#!bin/env\n")
    resolver = Resolver(Sysroot(str(tmp_path)))
    places = tuple(f"{directory}/tool" for directory in shebang.STANDARD_PATH)
    assert resolver.program("/x").missing == (Missing("tool", "/x", places),)
    assert resolver.program("/y").missing == (Missing("/bin/none", "/y", ("/bin/none",)),)
    # A relative interpreter depends on the current directory: nothing can be copied for it.
    assert resolver.program("/z").missing == (Missing("bin/env", "/z", ("bin/env",)),)


def test_scripts_that_interpret_each_other_without_an_end(tmp_path: Path) -> None:
    put(tmp_path, "/a", b"#!/b\n")
    put(tmp_path, "/b", b"#!/a\n")
    put(tmp_path, "/c", b"#!/c\n")
    for path in ("/a", "/c"):
        with pytest.raises(Failure, match="cannot follow the #! line of /"):
            Resolver(Sysroot(str(tmp_path))).program(path)


def test_a_script_of_a_script_is_followed(tmp_path: Path) -> None:
    put(tmp_path, "/a", b"#!/b\n")
    put(tmp_path, "/b", b"#!/c\n")
    put(tmp_path, "/c", STATIC)
    assert [load.path for load in Resolver(Sysroot(str(tmp_path))).program("/a").loads] == ["/b", "/c"]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    head=st.one_of(
        st.binary(max_size=300),
        st.lists(
            st.sampled_from(["/bin/env", "/x", "-S", "-iS", " ", "\t", "A=1", "'", '"', "\\", "\0", "tool"])
        )
        .map("".join)
        .map(str.encode),
    )
)
def test_any_first_line_is_answered(tmp_path: Path, head: bytes) -> None:
    put(tmp_path, "/bin/env", STATIC)
    put(tmp_path, "/x", b"#!" + head)
    try:
        assert isinstance(Resolver(Sysroot(str(tmp_path))).program("/x"), Closure)
    except Failure as failure:
        message = failure.message
    else:
        message = "cannot"
    assert message.startswith("cannot")
