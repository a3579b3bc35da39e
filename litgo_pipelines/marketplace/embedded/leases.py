"""The leases of a home: which living processes use the server, each known by its pid and its birth.

Who takes one and gives it back, and what the last one does, is the package's own. Callers hold the home's lock.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from litgo_pipelines.marketplace.embedded.places import Site
from litgo_pipelines.marketplace.embedded.server import EmbeddedServerError


@dataclass(frozen=True)
class Lease:
    """One process that uses the server."""

    pid: int
    birth: str


def own_lease() -> Lease:
    birth = birth_of(os.getpid())
    if birth is None:
        raise EmbeddedServerError("This process cannot see itself among the processes. Mount /proc, or set DATABASE_URL.")
    return Lease(os.getpid(), birth)


def live_leases(site: Site) -> set[Lease]:
    """The leases on file whose process still lives."""
    try:
        text = site.leases.read_text()
    except FileNotFoundError:
        return set()
    try:
        leases = {Lease(int(entry["pid"]), str(entry["birth"])) for entry in json.loads(text)}
    except (ValueError, KeyError, TypeError) as error:
        message = f"{site.leases} is not a list of leases ({error}). End the litgo processes of this home and delete the file."
        raise EmbeddedServerError(message) from error
    return {lease for lease in leases if birth_of(lease.pid) == lease.birth}


def write_leases(site: Site, leases: set[Lease]) -> None:
    fresh = site.leases.with_suffix(".new")
    with fresh.open("w") as file:
        json.dump([asdict(lease) for lease in sorted(leases, key=lambda lease: lease.pid)], file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(site.leases)


def birth_of(pid: int) -> str | None:
    """What tells this process from every other that ever has the same pid; None if it does not live.

    On Linux the start is counted in ticks since boot: `psutil.Process.create_time` follows the wall clock, and a step of it would
    make all leases look dead.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        if sys.platform != "linux":
            return repr(process.create_time())
        ticks = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19].decode()
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        return None
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}:{ticks}"
