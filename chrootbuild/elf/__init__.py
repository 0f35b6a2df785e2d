"""ELF files: what the run-time linker would load, with the reason of each answer.

Nothing of a file is run. pyelftools is imported in this package alone, and
only where a file is read that no memo knows.
"""

from chrootbuild.elf.closure import Resolver
from chrootbuild.elf.memo import Memo
from chrootbuild.elf.model import Closure, Load, Missing, Via
from chrootbuild.elf.system import detect_system

__all__ = ["Closure", "Load", "Memo", "Missing", "Resolver", "Via", "detect_system"]
