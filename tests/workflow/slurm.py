"""A Slurm of one node on this machine, for tests: installed where it can be, started, and taken away again."""

import os
import random
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scancel", "srun")
CONFIGURATION = Path("/etc/slurm/slurm.conf")
"""Where Slurm looks by itself: the steps of jobs do not know where else it might be."""
SIGN = "# Written by the tests of brain-model-rsa."
N_CPUS = 4
"""The node says that it has so many, whatever the machine has."""
DEVICES = ("/dev/zero",)
"""What stands for GPUs; any character device does."""
PORTS_OF_SYSTEM = Path("/proc/sys/net/ipv4/ip_local_port_range")
"""The ports that Linux itself gives to connections."""
FIRST_PORT = 10000
"""Below are ports of services."""
LONG_S = 86_400
"""So long Slurm knows jobs that have ended: longer than the tests last on any machine."""
WAITING_S = 60.0
BEGINNING_S = 20.0
"""Within this the daemons have said that they run."""
N_STARTS = 3
"""So often a Slurm is started, each time with other ports."""
LAST_LINES = 12
"""So many lines of each daemon's log are shown of a Slurm that did not start."""

TEMPLATE = """{sign}
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={base}/munge/socket
CredType=cred/munge
MpiDefault=none
SwitchType=switch/none
TaskPlugin=task/none
ProctrackType=proctrack/pgid
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
SlurmctldPort={port}
SlurmdPort={port_of_node}
SlurmctldPidFile={base}/run/slurmctld.pid
SlurmdPidFile={base}/run/slurmd.pid
StateSaveLocation={base}/state
SlurmdSpoolDir={base}/spool
SlurmctldLogFile={base}/log/slurmctld.log
SlurmdLogFile={base}/log/slurmd.log
MinJobAge={long_s}
MessageTimeout=100
TCPTimeout=60
BatchStartTimeout=600
UnkillableStepTimeout=600
KillWait=5
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={n_cpus} RealMemory={memory_mb} Gres=gpu:{n_gpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=04:00:00 State=UP
"""


class NoSlurmError(Exception):
    """Why there is no Slurm here."""


@dataclass(frozen=True)
class Job:
    """A job as the queue shows it."""

    number: str
    run: str
    comment: str
    state: str
    memory: str


@dataclass
class Slurm:
    """A Slurm that runs."""

    base: Path

    def jobs(self) -> list[Job]:
        """Return all jobs that Slurm still knows, in the order in which they came."""
        said = _run("squeue", "--noheader", "--states=all", "--format=%i|%j|%k|%T|%m")
        jobs = [Job(*line.strip().split("|")) for line in said.splitlines()]
        return sorted(jobs, key=lambda job: int(job.number))

    def active(self) -> list[Job]:
        """Return the jobs that wait or run."""
        return [job for job in self.jobs() if job.state in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING")]

    def processes(self, number: str) -> list[int]:
        """Return the processes of a job."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                names = path.read_bytes().split(b"\0")
            except OSError:  # it has ended, or is not ours
                continue
            if f"SLURM_JOB_ID={number}".encode() in names:
                found.append(int(path.parent.name))
        return found


@contextmanager
def running_slurm(base: Path) -> Iterator[Slurm]:
    """Start a Slurm whose files are in a folder, and stop it at the end.

    Raises
    ------
    NoSlurmError
        With the reason, where there cannot be one.
    """
    _require_slurm()
    os.environ.pop("SLURM_CONF", None)
    slurm = _started(base)
    try:
        yield slurm
    finally:
        _end(slurm)


def _started(base: Path) -> Slurm:
    """Start a Slurm; another one where that did not come up, as a port that was free may have been taken since."""
    why = ""
    for start in range(1, N_STARTS + 1):
        slurm = Slurm(base / str(start))
        try:
            _start(slurm.base)
            return slurm
        except (NoSlurmError, TimeoutError) as error:
            why = f"{error}\n{_logs(slurm.base)}"
            _end(slurm)
        except BaseException:
            _end(slurm)
            raise
    raise NoSlurmError(f"it was started {N_STARTS} times in vain; the last time: {why}")


def _end(slurm: Slurm) -> None:
    _stop(slurm)
    for path in (CONFIGURATION, CONFIGURATION.with_name("gres.conf")):
        path.unlink(missing_ok=True)


def _logs(base: Path) -> str:
    """Return the last lines of what the daemons logged."""
    paths = [*sorted((base / "log").glob("*.log")), base / "munge" / "log"]
    logs = {path.name: path.read_text(errors="replace").splitlines() for path in paths if path.exists()}
    return "\n".join(f"{name}:\n" + "\n".join(lines[-LAST_LINES:]) for name, lines in logs.items())


def _require_slurm() -> None:
    """Install the packages where that can be done, and say why there is no Slurm where it cannot."""
    if sys.platform != "linux":
        raise NoSlurmError("Slurm is for Linux")
    if os.getuid() != 0:
        raise NoSlurmError("to start a Slurm takes the rights of root")
    if CONFIGURATION.exists():
        text = CONFIGURATION.read_text()
        controller = re.search(r"^SlurmctldPidFile=(.*)$", text, re.M)
        if not text.startswith(SIGN):
            raise NoSlurmError(f"{CONFIGURATION} is of another Slurm, which is left alone")
        if controller and _is_alive(_pid(Path(controller[1]))):
            raise NoSlurmError("other tests run one on this machine")
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        if shutil.which("apt-get") is None:
            raise NoSlurmError(f"there is no {missing[0]}, and no apt-get that could install it")
        _install()


def _install() -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(["apt-get", "--quiet", *command], env=environment, capture_output=True, text=True)
        if done.returncode:
            raise NoSlurmError(f"apt-get {command[0]} failed: {done.stderr.strip().splitlines()[-1:]}")


def _write_configuration(base: Path) -> None:
    host = socket.gethostname().split(".")[0]
    port, port_of_node = _free_ports(2)
    memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 9 // 10 // 2**20
    CONFIGURATION.parent.mkdir(parents=True, exist_ok=True)
    text = TEMPLATE.format(
        sign=SIGN,
        host=host,
        base=base,
        port=port,
        port_of_node=port_of_node,
        n_cpus=N_CPUS,
        memory_mb=memory_mb,
        n_gpus=len(DEVICES),
        long_s=LONG_S,
    )
    CONFIGURATION.write_text(text)
    gpus = "".join(f"NodeName={host} Name=gpu File={device} AutoDetect=off\n" for device in DEVICES)
    CONFIGURATION.with_name("gres.conf").write_text(f"{SIGN}\n{gpus}")


def _free_ports(n_ports: int) -> list[int]:
    """Find ports that nothing listens on, out of those that the system gives to nobody who does not ask for them.

    A port that the system itself hands out could be that of another test's connection by the time a daemon binds it:
    a controller then runs without its node.
    """
    ports = range(FIRST_PORT, int(PORTS_OF_SYSTEM.read_text().split()[0]))
    found: list[int] = []
    for port in random.SystemRandom().sample(ports, len(ports)):
        with socket.socket() as one:
            try:
                one.bind(("0.0.0.0", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == n_ports:
            return found
    raise NoSlurmError(f"no {n_ports} ports are free from {ports.start} to {ports.stop - 1}")


def _start(base: Path) -> None:
    for name in ("state", "spool", "log", "run", "munge"):
        (base / name).mkdir(mode=0o755, parents=True)
    for folder in (base.parent, base):
        folder.chmod(0o755)
    _write_configuration(base)
    munge = base / "munge"
    (munge / "key").write_bytes(os.urandom(128))
    (munge / "key").chmod(0o400)
    # --force: the folders of temporary files belong to everybody, which munged does not like
    _run(
        "munged", "--force", f"--key-file={munge}/key", f"--socket={munge}/socket", f"--pid-file={base}/run/munged.pid",
        f"--log-file={munge}/log", f"--seed-file={munge}/seed",
    )  # fmt: skip
    _run("slurmctld")
    _run("slurmd")
    _wait(lambda: not _ended(base), "the daemons run", limit_s=BEGINNING_S)
    _wait(lambda: _node_is_idle(base), "the node is idle")


def _node_is_idle(base: Path) -> bool:
    """Say whether the node takes jobs.

    Raises
    ------
    NoSlurmError
        If a daemon has ended: there will be no such node.
    """
    if ended := _ended(base):
        raise NoSlurmError(f"{ended[0]} has ended")
    return _run("sinfo", "--noheader", "--format=%T").split() == ["idle"]


def _ended(base: Path) -> list[str]:
    """Return the daemons that do not run."""
    return [name for name in ("slurmctld", "slurmd") if not _is_alive(_pid(base / "run" / f"{name}.pid"))]


def _stop(slurm: Slurm) -> None:
    """End the jobs while there is who ends them, then the daemons."""
    pids = {name: _pid(slurm.base / "run" / f"{name}.pid") for name in ("slurmd", "slurmctld", "munged")}
    if _is_alive(pids["slurmctld"]):
        with suppress(NoSlurmError, TimeoutError):  # nothing is known of one that did not come up, and it has no jobs
            active = [job.number for job in slurm.active()]
            if active:
                subprocess.run(["scancel", *active], check=False, capture_output=True)
                _wait(lambda: not slurm.active(), "the jobs have ended")
    for pid in pids.values():
        if _is_alive(pid):
            os.kill(pid, 15)
    try:
        _wait(lambda: not any(map(_is_alive, pids.values())), "the daemons have ended", limit_s=10)
    except TimeoutError:
        for pid in filter(_is_alive, pids.values()):
            os.kill(pid, 9)


def _pid(path: Path) -> int:
    """Read the number of a process from a file; 0 if there is none."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def _is_alive(pid: int) -> bool:
    return pid > 0 and Path(f"/proc/{pid}").exists()


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise NoSlurmError(f"{command[0]} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def _wait(until: Callable[[], bool], what: str, limit_s: float = WAITING_S) -> None:
    begun = monotonic()
    while not until():
        if monotonic() - begun > limit_s:
            raise TimeoutError(f"Slurm: not within {limit_s:g} s: {what}")
        sleep(0.1)
