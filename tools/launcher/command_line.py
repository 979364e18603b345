"""The launcher's command line: one command is run, and what stops it is said in a sentence."""

import errno
import os
import sys
from pathlib import Path

from tools.launcher import commands, environment, packages, place, troubles
from tools.launcher.troubles import Trouble, say


def main(arguments: list[str], usage: str) -> int:
    """Run one command; return the exit code. usage: what `help` prints."""
    command, rest = (arguments[0], arguments[1:]) if arguments else ("help", [])
    own = {
        "lab": commands.lab,
        "reset": commands.reset,
        "test": commands.test,
        "doctor": commands.doctor,
        "sync": commands.sync,
    }
    try:
        if hasattr(sys.stdout, "reconfigure"):  # a path may hold what the terminal can't show
            sys.stdout.reconfigure(errors="backslashreplace")
        if command in ("help", "-h", "--help") or asks_only(command, rest):
            say(usage.strip())
            if command in commands.PASSED_ON:
                say(
                    f"\n{command} lists its own flags once the course is set up: python3 "
                    "course.py lab"
                )
            return 0
        return own[command](rest) if command in own else commands.passed_on(command, rest)
    except Trouble as trouble:
        print(f"\n{trouble}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The same command takes it up again.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our lines has enough of them
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"\n{explain(error)}", file=sys.stderr)
        return 1


def asks_only(command: str, arguments: list[str]) -> bool:
    """Whether a command line asks for help, and nothing is set up that could say more."""
    if command in commands.OWN:
        return bool({"-h", "--help"} & set(arguments))
    if command not in commands.PASSED_ON or not {"-h", "--help"} & set(arguments):
        return False
    venv = place.venv_dir()
    return not packages.is_ready(venv, "lab", environment.facts_of(venv))


def explain(error: OSError) -> Trouble:
    """A sentence for the errors of a disk; anything else is a fault of the launcher and is
    raised as it is.
    """
    if (
        error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", -1))
        or getattr(error, "winerror", None) == 112
    ):
        return troubles.disk_full(place.venv_dir())
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return troubles.no_writing(error.filename or place.venv_dir())
    if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
        return Trouble(
            f"{error.filename or place.venv_dir()} is in the way of the set-up "
            f"({error.strerror}). Move it away, or set MARBLE_VENV to a folder that is empty "
            "or doesn't exist."
        )
    path = Path(error.filename) if isinstance(error.filename, str) else None
    if path is not None and error.errno == errno.ENOENT and path.parent == place.ROOT:
        return Trouble(
            f"{path} is gone, so this checkout isn't whole. `git checkout -- {path.name}` "
            "brings it back."
        )
    if path is not None:
        return Trouble(
            f"The environment can't be in {place.venv_dir()}: {path} ({error.strerror}). Set "
            "MARBLE_VENV to a folder on a disk of your own."
        )
    raise error
