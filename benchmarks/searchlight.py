"""Measure the searchlight beside other toolboxes, on the same two cores and in the same run.

Each measurement has a process of its own, so that memory and imports are those of one engine.
"""

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import page
import psutil
from peers import PEERS
from studies import GROWTH, WORKLOADS, Workload

HERE = Path(__file__).parent
BLAS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "BLIS_NUM_THREADS")


def arguments() -> argparse.ArgumentParser:
    """Say which options there are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    every = [*WORKLOADS, "growth", "start"]
    add = parser.add_argument
    add("--workloads", nargs="*", choices=every, default=every, metavar="NAME", help=f"of {', '.join(every)}")
    add("--peers", nargs="*", choices=PEERS, default=list(PEERS), metavar="NAME", help=f"of {', '.join(PEERS)}")
    add("--without-ours", action="store_true", help="measure the peers only")
    add("--repeats", type=int, default=3, help="how often our engine runs on each workload (%(default)s)")
    add("--threads", type=int, default=2, help="threads, or processes, of every engine (%(default)s)")
    add("--check", type=int, default=1000, help="random centres to compare with scipy (%(default)s)")
    add("--peer-seconds", type=float, default=30, help="run a peer on centres enough for this long (%(default)s)")
    add("--peer-python", default=sys.executable, help="a Python with the peers that this one lacks")
    add("--scale", type=float, default=1, help="part of the volume that is kept, for trying out (%(default)s)")
    add("--offset", type=float, default=0, help="added to all patterns, in s.d. of the noise (%(default)s)")
    add("--output", type=Path, help="JSON file for the results; what it holds and is not measured now, stays")
    add("--page", type=Path, help="write tables between the marks of this page, and its figure, from --output")
    add("--record", action="store_true", help="only print the ratios that tests/speed.py expects")
    return parser


def main() -> str | None:
    """Measure what was asked for; print, keep and draw it; return what failed."""
    parser = arguments()
    options = parser.parse_args()
    if options.record:
        record()
        return None
    if options.output is None:
        parser.error("--output says where the results go")
    results = json.loads(options.output.read_text()) if options.output.exists() else {"measured": {}}
    shared = {"scale": options.scale, "offset": options.offset, "n_threads": options.threads}
    if results.setdefault("options", shared) != shared:
        parser.error(f"{options.output} was measured with {results['options']}, not {shared}; choose another file")
    for name, found in measurements(options):
        print(f"{name}: {page.in_short(found)}", flush=True)
        results["measured"][name] = found | {"when": datetime.now(UTC).isoformat(timespec="minutes")}
        results["system"] = system()
        options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if options.page is not None:
        page.write(options.page, results)
    failed = [name for name, found in results["measured"].items() if "failed" in found]
    return f"failed: {', '.join(failed)}" if failed else None


def record() -> None:
    """Print how many times faster than scipy our engine is now."""
    from ours import speed_ratios

    with tempfile.TemporaryDirectory() as folder:
        print({name: round(ratio, 1) for name, ratio in speed_ratios(Path(folder)).items()})


def system() -> dict[str, str]:
    """Describe the machine and the versions."""
    packages = ("brain-model-rsa", "numpy", "scipy", "numba")
    return {"processor": processor(), "cores": str(os.cpu_count()), "python": platform.python_version()} | {
        name: version(name) for name in packages
    }


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


# ---------------------------------------------------------------------------------------- what is run


def measurements(options: argparse.Namespace) -> Iterator[tuple[str, dict]]:
    """Measure one thing after the other."""
    with tempfile.TemporaryDirectory(prefix="rsa-benchmark-") as folder:
        bench = Bench(Path(folder), options)
        if options.workloads:
            yield "machine", bench.run("ours.py", "machine")
        if "start" in options.workloads:
            cache = {"NUMBA_CACHE_DIR": str(Path(folder) / "numba")}
            for name in ("cold", "cached"):
                yield f"start {name}", bench.run("ours.py", "start", environment=cache)
        for name in (name for name in WORKLOADS if name in options.workloads):
            yield from bench.workload(
                name, WORKLOADS[name], [one for one in options.peers if name in PEERS[one].workloads]
            )
        if "growth" in options.workloads and not options.without_ours:
            for what, several in GROWTH.items():
                for size, workload in several.items():
                    yield from bench.workload(f"{what} {size}", workload, [])


class Bench:
    """Runs measurements in processes of their own, in one folder, with the same options."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder, self.options = folder, options
        self.n_run = 0

    def workload(self, name: str, workload: Workload, peers: list[str]) -> Iterator[tuple[str, dict]]:
        """Measure our engine and some peers on the same study."""
        if self.options.without_ours and not peers:
            return
        study = self.folder / "study"
        shape = {"workload": asdict(workload), "scale": self.options.scale, "offset": self.options.offset}
        made = self.run("ours.py", "study", study=str(study), **shape)
        if "failed" in made:
            yield name, made
            return
        if not self.options.without_ours:
            yield f"{name} | ours", shape | self.run("ours.py", "ours", study=str(study))
        for peer in peers:
            yield f"{name} | {peer}", self.peer(peer, study)
        for file in study.iterdir():
            file.unlink()
        study.rmdir()

    def peer(self, name: str, study: Path) -> dict:
        """Measure a peer, in the other Python if this one lacks it."""
        n_blas = 1 if PEERS[name].processes else self.options.threads
        found: dict = {}
        for python in dict.fromkeys([sys.executable, self.options.peer_python]):
            found = self.run("peers.py", name, python=python, n_blas=n_blas, study=str(study))
            if "missing" not in found:
                break
        return found

    def run(
        self,
        script: str,
        what: str,
        *,
        python: str = sys.executable,
        n_blas: int | None = None,
        environment: dict[str, str] | None = None,
        **spec: Any,
    ) -> dict:
        """Run one measurement and read what it found, or why it failed; with the memory of all its processes."""
        self.n_run += 1
        file, result = self.folder / f"{self.n_run}.json", self.folder / f"{self.n_run}_found.json"
        options = self.options
        spec |= {"n_threads": options.threads, "repeats": options.repeats, "check": options.check}
        spec |= {"peer_seconds": options.peer_seconds, "result": str(result)}
        file.write_text(json.dumps(spec))
        variables = os.environ | dict.fromkeys(BLAS, str(n_blas or options.threads)) | (environment or {})
        words = [python, str(HERE / script), what, str(file)]
        with (self.folder / "errors.txt").open("w+") as errors:
            process = subprocess.Popen(words, env=variables, stdout=errors, stderr=errors)
            peak = watched(process)
            if process.returncode:
                errors.seek(0)
                return {"failed": (errors.read().strip().splitlines() or ["no message"])[-1]}
        return {"bytes": peak} | json.loads(result.read_text())


def watched(process: subprocess.Popen) -> int:
    """Wait for a process; return the most bytes that it and its workers had together, shared pages counted once."""
    peak = 0
    while True:
        try:
            process.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            peak = max(peak, family_bytes(process.pid))
        else:
            return peak


def family_bytes(pid: int) -> int:
    total = 0
    with contextlib.suppress(psutil.Error):  # some end while they are looked at
        parent = psutil.Process(pid)
        for one in [parent, *parent.children(recursive=True)]:
            total += one.memory_full_info().pss
    return total


if __name__ == "__main__":
    sys.exit(main())
