"""A stand-in for the Python of a folder, whose processes are forks of one in which all that jobs import is loaded.

A job of a small study takes a tenth of a second, and its imports some three seconds. ``python -m rsa ...`` and ``python
-m snakemake ...`` are forks here; all else is an ordinary process, and so are all jobs of the default study.
"""

import importlib
import json
import os
import runpy
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

from rsa.report import style

DPI = 60
"""Dots per inch of the figures of forks: a third of the time of a small study would go into those that nobody sees."""

LOADED = (
    "rsa.pipeline.cli", "rsa.pipeline.checks", "rsa.pipeline.plan", "rsa.pipeline.results", "rsa.kernels",
    "snakemake.cli", "snakemake.workflow", "snakemake.executors.local", "snakemake.dag", "snakemake.scheduling",
    "torch", "torchvision", "matplotlib.pyplot", "nilearn.plotting", "nilearn.glm.first_level", "mne", "scipy.stats",
)  # fmt: skip

SOCKET = "s"
"""Its name, by which both ends call it within its folder: with the folder it could be longer than a socket may have."""

CLIENT = """#!/bin/sh
'''exec' "{real}" -IS "$0" "$@"
To Python these lines are a text, and the shell does not come here. What a first line names may have no spaces.
'''
import json, os, socket, sys
if sys.argv[1:2] != ["-m"]:
    os.execv({real!r}, [{real!r}, *sys.argv[1:]])
with socket.socket(socket.AF_UNIX) as server:
    said = json.dumps([__file__, sys.argv[2:], os.getcwd(), dict(os.environ)]).encode()
    os.chdir({folder!r})
    server.connect({socket!r})
    socket.send_fds(server, [len(said).to_bytes(8)], [0, 1, 2])
    server.sendall(said)
    sys.exit(int(server.recv(16) or b"1"))
"""


class Forks:
    """The process that is forked; end it by `close`."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self.server = subprocess.Popen([sys.executable, __file__, self.folder], stdout=subprocess.PIPE)
        assert self.server.stdout is not None
        assert self.server.stdout.readline() == b"ready\n"

    def python(self, folder: Path) -> str:
        """Write the stand-in into a folder; return its path."""
        path = folder / "python"
        path.parent.mkdir(exist_ok=True)
        path.write_text(CLIENT.format(real=sys.executable, folder=self.folder, socket=SOCKET))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    def close(self) -> None:
        self.server.terminate()
        self.server.communicate()


def serve(folder: str) -> None:
    """Fork for each client that comes."""
    for name in LOADED:
        importlib.import_module(name)
    style.DPI = DPI
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(folder)
        listener.bind(SOCKET)
        listener.listen()
        signal.signal(signal.SIGTERM, lambda *_: finish())
        print("ready", flush=True)
        while True:
            client, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                answer(client)
            client.close()
            reap()


def reap() -> None:
    """Take note of the forks that have ended, and of the time that they took."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def finish() -> None:
    """End at once: to unload all modules takes seconds."""
    reap()
    os._exit(0)


def answer(client: socket.socket) -> None:
    """Become the process that the client stands for."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    size, streams, _, _ = socket.recv_fds(client, 8, 3)
    said = b""
    while len(said) < int.from_bytes(size):
        said += client.recv(2**20)
    sys.executable, (module, *arguments), folder, environment = json.loads(said)
    for place, stream in enumerate(streams):
        os.dup2(stream, place)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0], sys.argv, code = folder, [module, *arguments], 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        code = 1
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        client.sendall(str(code).encode())
        os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
