"""Confinement: which tree, mounts and devices a sandbox shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chrootbuild.artifact import Device
from chrootbuild.target.model import Limits


@dataclass(frozen=True, slots=True)
class Confinement:
    """The settings of a sandbox."""

    lower: str  # the real path of the root, or of a sysroot; never written to
    mounts: tuple[str, ...] = ()  # paths in the root
    devices: Mapping[str, Device] = field(
        default_factory=dict
    )  # by path in the root; shown as the host's nodes
    task: str = "confine a program"  # of the caller, for an error: "cannot check web: ..."
    system: bool = False  # lower is a whole system, with its mounts, /dev, /proc and /sys
    limits: Limits = field(default_factory=Limits)  # of everything in the sandbox together
