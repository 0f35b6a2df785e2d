"""The standard nodes of Linux and FreeBSD."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chrootbuild.artifact import Device, Origin
from chrootbuild.errors import TargetError
from chrootbuild.plan.devices import Node, device, names, resolve
from chrootbuild.target.model import DeviceItem

ORIGIN = Origin("targets/t.toml", "devices", 4)


def item(
    name: str, number: Device | None = None, owner: str = "", group: str = "", mode: int | None = None
) -> DeviceItem:
    return DeviceItem(name, ORIGIN, number, owner, group, mode)


def test_this_kernel_has_the_same_numbers() -> None:
    """Every node of the table that is here; /dev/null and its like are everywhere."""
    here, ours = {}, {}
    for name in names("linux"):
        path = Path("/dev", name)
        if path.is_symlink() or not (path.is_char_device() or path.is_block_device()):
            continue
        number = path.stat().st_rdev
        here[name] = Device(path.is_char_device(), os.major(number), os.minor(number))
        ours[name] = device(name, "linux")[0]
    assert ours == here
    assert {"null", "zero", "full", "random", "urandom", "tty"} <= set(here)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("null", "char 1:3 0666"),
        ("zero", "char 1:5 0666"),
        ("full", "char 1:7 0666"),
        ("random", "char 1:8 0666"),
        ("urandom", "char 1:9 0666"),
        ("tty", "char 5:0 0666"),
        ("console", "char 5:1 0600"),
        ("ptmx", "char 5:2 0666"),
        ("tty1", "char 4:1 0620"),
        ("ttyS0", "char 4:64 0660"),
        ("net/tun", "char 10:200 0666"),
        ("fuse", "char 10:229 0666"),
        ("loop3", "block 7:3 0660"),
    ],
)
def test_linux_numbers_are_those_of_devices_txt(name: str, expected: str) -> None:
    (node,) = resolve(item(name), "linux")
    assert f"{node.device} {node.mode:04o}" == expected
    assert node.owner == "root"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("console", "char 0:0 0600 wheel"),
        ("tty", "char 1:0 0666 wheel"),
        ("mem", "char 2:0 0640 kmem"),
        ("kmem", "char 2:1 0640 kmem"),
        ("null", "char 2:2 0666 wheel"),
        ("random", "char 2:3 0644 wheel"),
        ("urandom", "char 2:4 0644 wheel"),
        ("zero", "char 2:12 0666 wheel"),
        ("io", "char 2:14 0600 wheel"),
        ("klog", "char 7:0 0600 wheel"),
        ("stdin", "char 22:0 0666 wheel"),
        ("stderr", "char 22:2 0666 wheel"),
        ("fd/63", "char 22:63 0666 wheel"),
        ("pci", "char 78:0 0644 wheel"),
        ("ttyp0", "char 5:0 0666 wheel"),
        ("ptySv", "char 6:255 0666 wheel"),
    ],
)
def test_freebsd_numbers_are_those_of_makedev(name: str, expected: str) -> None:
    (node,) = resolve(item(name), "freebsd")
    assert f"{node.device} {node.mode:04o} {node.group}" == expected


def test_std_on_linux_has_the_links_to_proc() -> None:
    nodes = {node.name: node for node in resolve(item("std"), "linux")}
    assert list(nodes) == [
        "null",
        "zero",
        "full",
        "random",
        "urandom",
        "tty",
        "fd",
        "stdin",
        "stdout",
        "stderr",
    ]
    assert nodes["fd"] == Node("fd", link="/proc/self/fd")
    assert nodes["stdout"] == Node("stdout", link="/proc/self/fd/1")
    assert nodes["null"] == Node("null", Device(True, 1, 3), 0o666, "root", "root")


def test_std_and_jail_on_freebsd_are_the_sets_of_makedev() -> None:
    std = {node.name for node in resolve(item("std"), "freebsd")}
    assert std - {f"fd/{number}" for number in range(64)} == {
        *("console", "kmem", "mem", "null", "random", "urandom", "zero", "io", "tty", "klog", "pci"),
        *("stdin", "stdout", "stderr"),
    }
    assert len(std) == 14 + 64
    jail = {node.name: node for node in resolve(item("jail"), "freebsd")}
    assert jail["mem"] == Node("mem", link="null")
    assert std - set(jail) == {"io", "klog", "pci"}
    assert len(resolve(item("pty0"), "freebsd")) == 64


def test_what_the_entry_says_wins_over_the_table() -> None:
    assert resolve(item("null", owner="5", group="tty", mode=0o600), "linux") == [
        Node("null", Device(True, 1, 3), 0o600, "5", "tty")
    ]
    assert resolve(item("fuse", Device(True, 99, 1)), "linux") == [
        Node("fuse", Device(True, 99, 1), 0o666, "root", "root")
    ]


def test_numbers_make_any_name() -> None:
    assert resolve(item("dri/card0", Device(True, 226, 0)), "linux") == [
        Node("dri/card0", Device(True, 226, 0), 0o600, "0", "0")
    ]


def test_an_unknown_name_gets_did_you_mean_and_the_form_with_numbers() -> None:
    with pytest.raises(TargetError) as caught:
        resolve(item("nul"), "linux")
    assert str(caught.value) == (
        "cannot make the device nul (targets/t.toml:4: devices): Linux has no standard node of that name\n"
        'hint: did you mean null? Or write its numbers: { name = "nul", char = "MAJOR:MINOR" }; '
        "ls -l /dev/nul shows them"
    )
    with pytest.raises(TargetError, match=r'hint: write its numbers: \{ name = "qqq"'):
        resolve(item("qqq"), "freebsd")


@pytest.mark.parametrize("name", ["log", "pts", "shm"])
def test_what_is_no_node_is_said(name: str) -> None:
    with pytest.raises(TargetError, match=r"\(targets/t.toml:4: devices\): it is "):
        resolve(item(name), "linux")


@pytest.mark.parametrize("name", ["", "/dev/null", "../etc/x", "a/../b", "a//b", "a/", ".", "x\0y"])
def test_a_name_that_leads_out_of_dev_is_an_error(name: str) -> None:
    with pytest.raises(TargetError, match="no path below /dev"):
        resolve(item(name, Device(True, 1, 3)), "linux")
