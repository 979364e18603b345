"""The launcher's commands. Each judges its words first, then sets up, then hands over to the
environment's Python.
"""

import difflib
import importlib.util
import os
import sys
from pathlib import Path

from tools.launcher import (
    environment,
    handover,
    judged,
    jupyter,
    lessons,
    packages,
    place,
    troubles,
)
from tools.launcher.troubles import Trouble, say

OWN = ("lab", "reset", "test", "doctor", "sync", "help")
# the library's own, in course_lib/__main__.py
PASSED_ON = ("train", "sample", "evaluate", "showdown", "sd", "html", "verify")


def take(arguments: list[str], flag: str) -> tuple[bool, list[str]]:
    """Whether a flag is among the arguments, and the arguments without it."""
    return flag in arguments, [a for a in arguments if a != flag]


def lab(arguments: list[str]) -> int:
    """Set up, verify data and weights, open JupyterLab on the reader's copies."""
    cpu, arguments = take(arguments, "--cpu")
    # a slip is said before an install
    command = jupyter.lab_arguments(arguments, hasattr(os, "geteuid") and os.geteuid() == 0)
    python = environment.set_up("lab", cpu)
    if handover.call(python, "-m", "course_lib", "verify"):
        raise Trouble(
            "Data or weights are not what they should be (see above). `git checkout -- assets "
            "weights` brings the shipped files back."
        )
    return handover.become(python, place.ROOT / "tools" / "lab.py", *command)


def reset(arguments: list[str]) -> int:
    """Lay the course's lessons in the reader's folder anew; what lay there is set aside."""
    every, names = take(arguments, "--all")
    chosen = lessons.paths() if every else []
    for name in names:
        found = lessons.meant(name)
        if found is None:
            raise lessons.no_lesson(name)
        chosen.append(found)
    if not chosen:
        raise Trouble(
            "Which lesson? `python3 course.py reset 05`, for example, or `reset --all`. Your "
            "copy is kept in my/before/."
        )
    folder = place.ROOT / "notebooks"
    chosen = [path.relative_to(folder).as_posix() for path in chosen]
    python = environment.set_up("lab")
    return handover.become(python, place.ROOT / "tools" / "my_lessons.py", *chosen)


def sync(arguments: list[str]) -> int:
    """Bring notebooks, twins and shown code in step."""
    judged.check_sync(arguments)
    python = environment.set_up("lab")
    return handover.become(python, place.ROOT / "tools" / "sync_notebooks.py", *arguments)


def test(arguments: list[str]) -> int:
    """Run what CI runs."""
    cpu, arguments = take(arguments, "--cpu")
    judged.check_test(arguments)
    python = environment.set_up("test", cpu)
    return handover.become(python, place.ROOT / "tools" / "ci.py", *arguments)


def doctor(arguments: list[str]) -> int:
    """Say what is there; before the environment is, say what would stop it."""
    venv = place.venv_dir()
    facts = environment.facts_of(venv)
    # if something is gone since the set-up, the environment's own doctor says what
    if packages.read_stamp(venv, "lab", facts) is not None:
        environment.link(facts["site"])
        python = place.venv_python(venv)
        return handover.become(python, "-m", "course_lib", "doctor", *arguments)
    lines = before_set_up(venv)
    for good, name, value, mend in lines:
        how = "" if good else "\n      -> " + mend
        say(f"{'ok  ' if good else 'MEND'}  {name:<12}{value}{how}")
    return 0 if all(line[0] for line in lines[:-1]) else 1


def before_set_up(venv: Path) -> list[tuple[bool, str, str, str]]:
    """What the set-up itself needs: (good, name, value, mend) a line; the last is the
    environment to come.
    """
    # course.py has refused a Python that is too old
    lines = [(True, "Python", f"{sys.version.split()[0]} ({sys.executable})", "")]
    pip = all(importlib.util.find_spec(name) for name in ("venv", "ensurepip"))
    made = "can be made" if pip else "ensurepip is missing"
    lines.append((pip, "venv", made, "sudo apt install python3-venv"))
    try:
        place.check_place(venv)
    except Trouble as trouble:
        lines.append((False, "folder", str(venv), str(trouble)))
    free = place.free_gb(venv)
    room = free >= troubles.NEED_GB or (venv / "install.log").exists()
    mend = f"make {troubles.NEED_GB:g} GB free, or set MARBLE_VENV"
    lines.append((room, "disk", f"{free:.1f} GB free", mend))
    own = venv.is_dir() and place.is_own(venv)
    begun = "begun and not finished" if own else "not made yet"
    lines.append((False, "environment", begun, "python3 course.py lab"))
    return lines


def passed_on(command: str, arguments: list[str]) -> int:
    """Run one of `course_lib`'s own commands."""
    if command not in PASSED_ON:
        close = difflib.get_close_matches(command, OWN + PASSED_ON, 1)
        mend = f"There are: {', '.join(OWN + PASSED_ON)}."
        if close:
            mend = f"Did you mean `python3 course.py {close[0]}`?"
        raise Trouble(f"There is no command {command}. {mend}")
    judged.check_library(command, arguments)
    python = environment.set_up("lab")
    return handover.become(python, "-m", "course_lib", command, *arguments)
