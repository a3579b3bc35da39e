"""The embedded PostgreSQL server that all litgo processes of one home share.

What lives here: taking a lease on the server, which starts it, giving it back, which stops it, and looking at it. `places` is
where its files lie and as which OS user it runs, `leases` who uses it, `cluster` what its data folder holds, `postmaster` its
process, `programs` PostgreSQL's own programs, `server` what callers see of it.
What does not: engines and migrations (`database.py`, `migrations/`), and the choice between this server and a given one.

A home's server is found in one of two places (`data_folder`). Beside the data folder `postgres/` lie

- `postgres.lock`, held while somebody starts or stops the server or changes the leases,
- `postgres.leases.json`, the processes that use the server, each known by its pid and its birth,
- `server.log`, the server's own log.

A process that dies without `release` (SIGKILL, an unhandled SIGTERM) leaves a lease that the next `acquire` or `release` of any
process removes.
All users of a home must see each other's pids: one home is not for two containers.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from litgo_pipelines.marketplace.embedded.cluster import create_databases, has_data, initialise
from litgo_pipelines.marketplace.embedded.leases import live_leases, own_lease, write_leases
from litgo_pipelines.marketplace.embedded.places import Site, data_folder, prepare_site, server_account
from litgo_pipelines.marketplace.embedded.postmaster import START_SECONDS, STOP_SECONDS, is_ready, living_postmaster, settled, start, stop
from litgo_pipelines.marketplace.embedded.programs import program_folder
from litgo_pipelines.marketplace.embedded.server import PORT, EmbeddedServer, EmbeddedServerError, ServerStatus

__all__ = ["EmbeddedServer", "EmbeddedServerError", "ServerStatus", "acquire", "data_folder", "release", "status"]

# Keyed by pid, so that a forked child finds nothing of its parent's.
_held: dict[tuple[int, Path], EmbeddedServer] = {}


def acquire(home: Path) -> EmbeddedServer:
    """Start the server of `home` unless it runs, take a lease on it for this process, and see to its three databases.

    Calling it again in the same process changes nothing, unless the server died meanwhile: then it is started again. The lease is
    given back at exit, or by `release`. Raises EmbeddedServerError.
    """
    home = home.resolve()
    mine = (os.getpid(), home)
    if mine in _held and is_ready(_held[mine].data_dir):
        return _held[mine]
    _held.pop(mine, None)
    with _explained(home):
        site = prepare_site(home)
        with _locked(site):
            try:
                write_leases(site, live_leases(site) | {own_lease()})
                server = _ensure_running(site)
                create_databases(server, site.log)
            except BaseException:
                _give_back(site)
                raise
    _held[mine] = server
    # A forked child inherits the registration: without this it would be entered twice.
    atexit.unregister(_release_all)
    atexit.register(_release_all)
    return server


def release(home: Path) -> None:
    """Give this process's lease back; the last living one stops the server. Without a lease of this process nothing happens."""
    home = home.resolve()
    server = _held.pop((os.getpid(), home), None)
    if server is None:
        return
    with _explained(home):
        site = Site(server.data_dir, server_account())
        # The folder is gone when somebody deleted the home under a running server; that one stops by itself.
        if site.data_dir.parent.exists():
            with _locked(site):
                _give_back(site)


def status(home: Path) -> ServerStatus:
    """What runs for `home` now, without starting, stopping or writing anything. Raises EmbeddedServerError if it may not look."""
    with _explained(home):
        site = Site(data_folder(home), None)
        postmaster = living_postmaster(site.data_dir)
        version_file = site.data_dir / "PG_VERSION"
        return ServerStatus(
            running=postmaster is not None and postmaster.state == "ready",
            pid=postmaster.pid if postmaster else None,
            version=version_file.read_text().strip() if version_file.exists() else None,
            leases=tuple(sorted(lease.pid for lease in live_leases(site))),
            log=site.log,
        )


def _ensure_running(site: Site) -> EmbeddedServer:
    """Adopt the server if one runs, otherwise start it, on fresh data if there are none."""
    postmaster = settled(site)
    if postmaster is None:
        programs = program_folder(site.account)
        if not has_data(site):
            initialise(site, programs)
        postmaster = start(site, programs)
    return EmbeddedServer(site.data_dir, postmaster.socket_dir, PORT)


def _give_back(site: Site) -> None:
    """Drop this process's lease and the dead ones; nobody left means that the server stops."""
    left = {lease for lease in live_leases(site) if lease.pid != os.getpid()}
    write_leases(site, left)
    if not left:
        stop(site)


def _release_all() -> None:
    for pid, home in list(_held):
        if pid == os.getpid():
            release(home)


@contextlib.contextmanager
def _explained(home: Path) -> Iterator[None]:
    """Turn what the OS refuses into our error, with the place to look."""
    try:
        yield
    except Timeout as error:
        message = f"{error.lock_file} is held by another litgo process that starts or stops the server."
        raise EmbeddedServerError(f"{message} Wait, or end that process.") from error
    except (OSError, subprocess.SubprocessError, psutil.Error) as error:
        log = data_folder(home).with_name("server.log")
        message = f"The embedded PostgreSQL of {home} cannot be used: {error}."
        raise EmbeddedServerError(f"{message} Read {log}, or set DATABASE_URL to a server of your own.") from error


@contextlib.contextmanager
def _locked(site: Site) -> Iterator[None]:
    with FileLock(site.lock, timeout=START_SECONDS + STOP_SECONDS):
        yield
