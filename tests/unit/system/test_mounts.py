"""mountinfo(5), read in one place for audit, publish and the sandbox."""

from __future__ import annotations

from chrootbuild.system.mounts import (
    Mounted,
    filesystem_of,
    mounts_below,
    own_mounts,
    read_mounts,
    source_of,
)

MOUNTINFO = r"""
22 28 0:21 / /proc rw,nosuid shared:12 - proc proc rw
40 28 0:21 / /srv/x/proc rw,relatime - proc proc rw
41 28 0:22 / /srv/x/sys ro,relatime shared:3 master:1 - sysfs sysfs rw
42 28 0:23 / /srv/x/tmp\040two rw - tmpfs none ro
43 28 8:1 /etc /srv/xy/etc rw - ext4 /dev/sda1 rw
44 28 8:1 / /srv/x rw - ext4 /dev/sda1 rw
45 28 8:1 / /srv/x/tmp\040two rw - ext4 /dev/sda1 rw
46 28 8:1 / /srv/x/a\134040\011\012\043b@c rw - ext4 /dev/sda1 rw
damaged
1 2 3 damaged - x
""".replace("@", "\x85")  # for str.splitlines the end of a line


def test_mounts_below_a_directory() -> None:
    """Both option fields count, the last mount on a path is seen, /srv/xy is another directory."""
    expected = [
        Mounted("/srv/x/proc", "proc", True, "0:21"),
        Mounted("/srv/x/sys", "sysfs", False, "0:22"),
        Mounted("/srv/x/tmp two", "ext4", True, "8:1"),
        Mounted("/srv/x/a\\040\t\n#b\x85c", "ext4", True, "8:1"),
    ]
    for directory in ("/srv/x", "/srv/x/"):
        found = mounts_below(read_mounts(MOUNTINFO), directory)
        assert list(found.values()) == expected
        assert list(found) == [mount.path for mount in expected]


def test_what_else_shows_a_bind_mount() -> None:
    """The mount of the filesystem that shows the directory most closely; a subvolume's names are cut."""
    mounts = [
        Mounted("/", "btrfs", True, "0:30", "/@"),
        Mounted("/home", "btrfs", True, "0:30", "/@home"),
        Mounted("/srv", "xfs", True, "8:2"),
    ]
    for root, device, wanted in (
        ("/@/etc", "0:30", "/etc"),
        ("/@", "0:30", "/"),
        ("/@home/a", "0:30", "/home/a"),
        ("/@homes", "0:30", ""),
        ("/", "8:2", "/srv"),
        ("/", "8:3", ""),
    ):
        assert source_of(mounts, Mounted("/x", "x", True, device, root)) == wanted


def test_the_top_is_not_below_itself() -> None:
    text = "1 2 0:1 / / rw - x x rw\n2 1 0:2 / /proc ro - proc p rw"
    assert list(mounts_below(read_mounts(text), "/")) == ["/proc"]


def test_the_filesystem_of_a_directory() -> None:
    """The nearest mount above counts, of several the last; a mount below, or of a longer name, does not."""
    text = (
        "1 1 0:1 / / rw - ext4 x rw\n2 1 0:2 / /srv rw - xfs x rw\n3 1 0:3 / /srv rw - overlay x rw\n"
        "4 1 0:4 / /srv/x/proc rw - proc x rw\n5 1 0:5 / /sr rw - tmpfs x rw\n"
    )
    mounts = tuple(read_mounts(text))
    assert filesystem_of(mounts, "/srv/x") == "overlay"
    assert filesystem_of(mounts, "/srv") == "overlay"
    assert filesystem_of(mounts, "/home") == "ext4"
    assert filesystem_of((), "/home") == ""


def test_our_own_mounts() -> None:
    assert mounts_below(own_mounts(), "/")["/proc"].type == "proc"
