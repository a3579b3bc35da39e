"""The server's process: finding the one of a data folder, starting it, waiting for it, stopping it.

The server is nobody's child and has a session of its own, so it survives the process that started it, however that one ends.
What the data folder holds is `cluster`, where it lies `places`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from litgo_pipelines.marketplace.embedded.leases import birth_of
from litgo_pipelines.marketplace.embedded.places import Site, socket_folder
from litgo_pipelines.marketplace.embedded.programs import run
from litgo_pipelines.marketplace.embedded.server import PORT, EmbeddedServerError

START_SECONDS: Final = 300.0
STOP_SECONDS: Final = 120.0
_ORPHAN_SECONDS = 30.0
_LOG_BYTES = 20 * 1024 * 1024

# Sized for two cores and a few GB: a laptop or a small server. The cluster's own postgresql.conf stays as initdb wrote it.
_SERVER_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %d ",
}


@dataclass(frozen=True)
class Postmaster:
    """What postmaster.pid says of a server that lives; `state` is `ready`, `starting` or `stopping`."""

    pid: int
    socket_dir: Path
    state: str


def living_postmaster(data_dir: Path) -> Postmaster | None:
    """The living server of `data_dir`, or None.

    After a power loss postmaster.pid may name a pid that another program has by now, so the process itself must be a server of
    this folder.
    """
    try:
        lines = (data_dir / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return None
    if not lines or not lines[0].strip().isdigit() or not _serves(int(lines[0]), data_dir):
        return None
    complete = len(lines) > 7
    return Postmaster(int(lines[0]), Path(lines[4] if complete else data_dir), lines[7].strip() if complete else "starting")


def is_ready(data_dir: Path) -> bool:
    postmaster = living_postmaster(data_dir)
    return postmaster is not None and postmaster.state == "ready"


def settled(site: Site, launched: int | None = None) -> Postmaster | None:
    """Wait until the server is ready or gone. `launched` is a process just started that may not have written postmaster.pid yet.

    A server that another process started meanwhile counts as well: of two on the same data PostgreSQL lets one live.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        launched_lives = launched is not None and birth_of(launched) is not None
        postmaster = living_postmaster(site.data_dir)
        if postmaster is None and not launched_lives:
            return None
        if postmaster is not None and postmaster.state == "ready":
            return postmaster
        time.sleep(0.02)
    raise EmbeddedServerError(f"The embedded PostgreSQL did not become ready within {START_SECONDS:.0f} s. Read {site.log}.")


def start(site: Site, programs: Path) -> Postmaster:
    """Start the server; after a crash it recovers by itself."""
    socket_dir = socket_folder(site)
    _refuse_unseen_server(site, socket_dir)
    _remove_foreign_locks(site, socket_dir)
    _open_log(site)
    deadline = time.monotonic() + _ORPHAN_SECONDS
    while True:
        known = site.log.stat().st_size
        postmaster = settled(site, _launch(site, programs, socket_dir))
        if postmaster is not None:
            return postmaster
        said = site.log.read_bytes()[known:].decode(errors="replace").splitlines()
        # Children of a server that was killed finish their statement before they notice, and hold the shared memory so long.
        if time.monotonic() > deadline or not any("pre-existing shared memory block" in line for line in said):
            raise EmbeddedServerError(f"The embedded PostgreSQL did not start: {'; '.join(said[-3:])}. Read {site.log}.")
        time.sleep(0.25)


def stop(site: Site) -> None:
    """Stop the server (a fast shutdown: what is committed is on disk, open transactions are rolled back) and wait for its end."""
    postmaster = living_postmaster(site.data_dir)
    if postmaster is None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(postmaster.pid, signal.SIGINT)
    deadline = time.monotonic() + STOP_SECONDS
    while _serves(postmaster.pid, site.data_dir):
        if time.monotonic() > deadline:
            message = f"The embedded PostgreSQL (pid {postmaster.pid}) is still stopping after {STOP_SECONDS:.0f} s."
            raise EmbeddedServerError(f"{message} Read {site.log}.")
        time.sleep(0.01)
    if postmaster.socket_dir != site.data_dir and postmaster.socket_dir.exists() and not any(postmaster.socket_dir.iterdir()):
        postmaster.socket_dir.rmdir()


def _serves(pid: int, data_dir: Path) -> bool:
    """Whether this living process is a server of `data_dir`; its command line tells, even to a root without CAP_SYS_PTRACE."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.name() == "postgres" and str(data_dir) in process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        # Where others' processes are hidden (hidepid), a process we may not look at is not one of ours.
        return False


def _launch(site: Site, programs: Path, socket_dir: Path) -> int:
    """Launch the server as nobody's child and return its pid, before it is ready."""
    settings = {**_SERVER_SETTINGS, "unix_socket_directories": f'"{socket_dir}"'}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    # The shell ends at once, which makes the server a child of init. pg_ctl does the same, but does not quote folder names.
    script = '"$@" </dev/null >>"$0" 2>&1 & echo $!'
    server = [str(programs / "postgres"), "-D", str(site.data_dir), *options]
    return int(run(["/bin/sh", "-c", script, str(site.log), *server], site.account).stdout)


def _refuse_unseen_server(site: Site, socket_dir: Path) -> None:
    """Refuse to start beside a server that answers although its process cannot be seen, as from another container."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(socket_dir / f".s.PGSQL.{PORT}"))
        except (FileNotFoundError, ConnectionRefusedError):
            return
    message = f"A PostgreSQL that litgo did not start here, perhaps in another container, already serves {site.data_dir}."
    raise EmbeddedServerError(f"{message} Stop it, or choose another LITGO_HOME.")


def _remove_foreign_locks(site: Site, socket_dir: Path) -> None:
    """Remove the lock files of a dead server whose pid another program has by now: PostgreSQL would take that one for its like.

    Those whose pid is free are left to PostgreSQL, which looks for surviving children of the dead server before it takes over.
    """
    for path in (site.data_dir / "postmaster.pid", socket_dir / f".s.PGSQL.{PORT}.lock"):
        if path.exists() and _is_foreign(path, site.data_dir):
            path.unlink()


def _is_foreign(lock: Path, data_dir: Path) -> bool:
    """Whether a lock file of PostgreSQL is empty (a power loss) or names a living process that is not a server of `data_dir`."""
    pid = lock.read_text().partition("\n")[0].strip()
    if not pid:
        # A server that comes up at this moment fills its file within microseconds.
        time.sleep(0.1)
        pid = lock.read_text().partition("\n")[0].strip()
    if not pid.lstrip("-").isdigit():
        return True
    return psutil.pid_exists(abs(int(pid))) and not _serves(abs(int(pid)), data_dir)


def _open_log(site: Site) -> None:
    """Make the log writable for the server, and put a long one aside."""
    if site.log.exists() and site.log.stat().st_size > _LOG_BYTES:
        site.log.replace(site.log.with_suffix(".log.1"))
    site.log.touch(mode=0o600)
    if site.account is not None:
        os.chown(site.log, site.account.uid, site.account.gid)
