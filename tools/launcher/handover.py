"""What is started in the environment that was set up, and with which variables."""

import os
import subprocess
import sys
from pathlib import Path

from tools.launcher import place


def child_env() -> dict[str, str]:
    """The environment of what is started: this checkout's `course_lib` comes first."""
    before = os.environ.get("PYTHONPATH")
    paths = str(place.ROOT) + (os.pathsep + before if before else "")
    env = dict(os.environ, PYTHONPATH=paths)
    # A waiting thread spins 300,000 times before it sleeps, and beside other work it spins
    # away the core that the thread it waits for needs: see benchmarks/waiting_threads.md.
    if "OMP_WAIT_POLICY" not in env:
        env.setdefault("GOMP_SPINCOUNT", "2000")
    return env


def call(python: Path, *arguments, **options) -> int:
    """Run the environment's Python to its end and return its exit code."""
    return subprocess.call(
        [str(python)] + [str(a) for a in arguments], env=child_env(), **options
    )


def become(python: Path, *arguments) -> int:
    """Hand over to the environment's Python: signals and the exit code are its own from here
    on.
    """
    command = [str(python)] + [str(a) for a in arguments]
    if os.name != "nt":
        sys.stdout.flush()
        os.execve(command[0], command, child_env())
    process = subprocess.Popen(command, env=child_env())
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # the child has it too and decides
            continue
