"""Where the files of a home's server lie, and which OS user owns them: data, socket, lock, leases, log, and what homes share.

When root runs litgo, folders are opened for the server's user here, never one above the home. What is in the data folder is
`cluster`, the programs are `programs`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from litgo_pipelines.marketplace.embedded.server import PORT, EmbeddedServerError

SYSTEM_USER: Final = "pgserver"

_SHARED_ROOT = Path("/var/lib/litgo")
_SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107


@dataclass(frozen=True)
class Account:
    """The OS user that the server runs as when we are root."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Site:
    """One home's place on disk: the data folder and the files beside it; `account` is None when we are an ordinary user."""

    data_dir: Path
    account: Account | None

    @property
    def lock(self) -> Path:
        return self.data_dir.with_suffix(".lock")

    @property
    def leases(self) -> Path:
        return self.data_dir.with_suffix(".leases.json")

    @property
    def log(self) -> Path:
        return self.data_dir.with_name("server.log")


def data_folder(home: Path) -> Path:
    """Where the data of `home` live; looks at the disk, changes nothing.

    An ordinary user's data live in `home/postgres`. PostgreSQL refuses to run as root, so root's server runs as the OS user
    `pgserver`: its data live in `home/postgres` too if everybody may enter every existing folder above `home`, otherwise in
    `/var/lib/litgo/<first 12 hex digits of sha256(resolved home)>/postgres`. Data already in the second place stay there, also
    when the home is deleted and made anew.
    """
    home = home.resolve()
    inside = home / "postgres"
    if os.geteuid() != 0:
        return inside
    outside = _SHARED_ROOT / _digest(home) / "postgres"
    if outside.exists() or not enterable(home.parent):
        return outside
    return inside


def prepare_site(home: Path) -> Site:
    """Make the folders above the data folder, let `pgserver` pass the ones that are ours, and refuse data that are not ours."""
    home.mkdir(parents=True, exist_ok=True)
    site = Site(data_folder(home), server_account())
    inside = home / "postgres"
    if site.data_dir != inside and (inside / "PG_VERSION").exists():
        message = f"{inside} holds data, but the OS user {SYSTEM_USER} may not enter a folder above it."
        raise EmbeddedServerError(f"{message} Let others enter it (chmod o+x), or move the data to {site.data_dir}.")
    if site.account is not None:
        for folder in (home,) if site.data_dir == inside else (_SHARED_ROOT, site.data_dir.parent):
            _let_pass(folder)
    # Root's own folder cannot be a finished cluster, so `has_data` may judge it.
    if site.data_dir.exists() and site.data_dir.stat().st_uid not in (_uid(site.account), os.geteuid()):
        message = f"{site.data_dir} belongs to the OS user {site.data_dir.stat().st_uid}."
        raise EmbeddedServerError(f"{message} Run litgo as that user, or choose another LITGO_HOME.")
    return site


def socket_folder(site: Site) -> Path:
    """The data folder if libpq can be told its name as a host, otherwise a short private folder in the temp folder."""
    name = str(site.data_dir)
    if len(os.fsencode(name)) + len(f"/.s.PGSQL.{PORT}") <= _SOCKET_PATH_BYTES and not set(name) & set(',:"'):
        return site.data_dir
    temp = Path(tempfile.gettempdir())
    if len(os.fsencode(temp)) > 60 or (site.account is not None and not enterable(temp)):
        temp = Path("/tmp")
    folder = temp / f"litgo-{_digest(site.data_dir)}"
    _make_private(folder, site.account)
    return folder


def shared_folder(name: str) -> Path:
    """Where something lies that all of root's homes use; the folder itself is not made, the server's user may pass all above it."""
    _let_pass(_SHARED_ROOT)
    return _SHARED_ROOT / name


def server_account() -> Account | None:
    """The account of `pgserver`, created if need be; None for an ordinary user, who runs the server himself."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        _create_system_user()
        entry = pwd.getpwnam(SYSTEM_USER)
    return Account(entry.pw_uid, entry.pw_gid)


def _create_system_user() -> None:
    options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin"]
    try:
        done = subprocess.run(["useradd", *options, SYSTEM_USER], capture_output=True, text=True)
        problem = done.stderr.strip()
    except FileNotFoundError as error:
        problem = str(error)
    # Another process may have created it at the same time, so what counts is that the user is there.
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        message = f"PostgreSQL does not run as root and the OS user {SYSTEM_USER} could not be created ({problem})."
        raise EmbeddedServerError(f"{message} Create it, or set DATABASE_URL to a server of your own.") from None


def enterable(folder: Path) -> bool:
    """Whether everybody may enter `folder` and all above it; folders that do not exist yet do not count."""
    return all(path.stat().st_mode & stat.S_IXOTH for path in (folder, *folder.parents) if path.exists())


def _let_pass(folder: Path) -> None:
    """Create `folder` if it is missing, and add o+x."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    mode = folder.stat().st_mode
    if not mode & stat.S_IXOTH:
        folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def _make_private(folder: Path, account: Account | None) -> None:
    """Create a 0700 folder of the server's user, and refuse one that somebody else laid there before us."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if folder.lstat().st_uid == os.geteuid() and account is not None:
        os.chown(folder, account.uid, account.gid, follow_symlinks=False)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != _uid(account) or stat.S_IMODE(found.st_mode) != 0o700:
        message = f"{folder} should be a private folder for the server's socket, but somebody else made it."
        raise EmbeddedServerError(f"{message} Remove it.")


def _uid(account: Account | None) -> int:
    return os.geteuid() if account is None else account.uid


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
