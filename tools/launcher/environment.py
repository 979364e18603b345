"""The set-up: make the virtual environment, install into it what is missing, and let it import
this checkout. A start that finds all of it there takes a moment.
"""

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tools.launcher import builds, installer, packages, place, sources
from tools.launcher.troubles import Trouble, say


def set_up(which: str, cpu: bool = False) -> Path:
    """Bring the virtual environment to what `which` needs and return its Python; takes a
    moment when it's there.
    """
    venv = place.venv_dir()
    place.check_place(venv)
    python = place.venv_python(venv)
    facts = facts_of(venv)
    if not packages.is_ready(venv, which, facts, cpu):
        venv.parent.mkdir(parents=True, exist_ok=True)
        with place.lock(venv.parent / (venv.name + ".lock")) as held:
            place.check_place(venv)
            facts = facts_of(venv)
            if not packages.is_ready(venv, which, facts, cpu):
                facts = install(venv, which, facts, cpu, held)
    link(facts["site"])
    return python


def facts_of(venv: Path) -> dict | None:
    """What `probe` says of the environment here; None also where its making was cut off."""
    return None if (venv / place.UNFINISHED).exists() else probe(place.venv_python(venv))


def probe(python: Path) -> dict | None:
    """What an environment's Python says of itself: version and site-packages; None if it's
    broken, has no pip, or is another's: without pyvenv.cfg it would be the base Python.
    """
    # relative, and so ASCII: with -I it may spell the folders above in another encoding
    code = (
        "import json, os, sys, sysconfig, importlib.util as u;"
        "site = os.path.relpath(sysconfig.get_path('purelib'), sys.prefix);"
        "own = sys.prefix != sys.base_prefix and os.path.samefile(sys.prefix, sys.argv[1]);"
        "good = own and u.find_spec('pip') is not None;"
        "print(json.dumps([sys.version.split()[0], site, good]))"
    )
    venv = Path(python).parent.parent
    try:
        done = subprocess.run(
            [str(python), "-I", "-c", code, str(venv)],
            capture_output=True,
            text=True,
            timeout=300,  # a disk that is asleep, a machine that is busy
        )
        version, site, good = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return {"version": version, "site": venv / site} if good else None


def make_venv(venv: Path) -> None:
    """Make the virtual environment, over the remains of one that is broken or was never
    finished.
    """
    needed = ("venv", "ensurepip")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise Trouble(
            f"This Python comes without {missing[0]}, so it can't make a virtual environment. "
            "On Debian and Ubuntu `sudo apt install python3-venv` brings it; then run this "
            "command again."
        )
    place.clear(venv)
    venv.mkdir(parents=True, exist_ok=True)
    unfinished = venv / place.UNFINISHED
    unfinished.touch()
    say(f"Making the virtual environment in {venv}")
    command = [sys.executable, "-m", "venv", str(venv)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = done.stdout + done.stderr
        raise installer.diagnose(said, done.returncode, venv, "Making the virtual environment")
    os.replace(unfinished, venv / place.MADE)


def install(
    venv: Path, which: str, facts: dict | None, cpu: bool, held: int | None = None
) -> dict:
    """Install the requirements into the environment, which is made first if it must be."""
    # who once took the small build doesn't get the large one unasked
    cpu = cpu or (venv / "marble-cpu").exists()
    place.check_disk(venv, cpu)
    if facts is None:
        make_venv(venv)
        facts = probe(place.venv_python(venv))
        if facts is None:
            raise Trouble(
                f"The virtual environment in {venv} doesn't start. Delete that folder and try "
                "again."
            )
    site = facts["site"]
    gone = (packages.read_stamp(venv, which, facts) or set()) - packages.names(site)
    if gone:
        names = ", ".join(sorted(gone))
        say(f"Gone from the environment since it was set up: {names}.")
    (venv / place.MADE).touch()  # it stays ours, however this ends
    stamps = [packages.stamp_of(venv, name) for name in packages.SETS]
    for old in [*stamps, venv / "marble-cpu"]:
        with contextlib.suppress(FileNotFoundError):
            old.unlink()
    packages.sweep(venv, site)
    if cpu:
        (venv / "marble-cpu").touch()
    builds.say_build(venv, site, cpu)
    settings = sources.answering(sources.pip_settings(place.venv_python(venv)))
    if cpu:
        builds.small_torch(venv, site, settings, held)
    requirements = "requirements-test.txt" if which == "test" else "requirements.txt"
    asked = ["-r", str(place.ROOT / requirements)]
    installer.run_pip(venv, site, asked, settings, held)
    shutil.rmtree(str(venv / "marble-tmp"), ignore_errors=True)
    packages.check_installed(venv, which, site)
    packages.write_stamps(venv, which, facts)
    return facts


def link(site: Path) -> None:
    """Let the environment's Python import `course_lib` from where this checkout lies now."""
    path = site / "marble_course.pth"
    # ASCII alone, since Python 3.11 reads such a file in the locale's encoding; bytes, since
    # that reads paths as well
    root = os.fsencode(str(place.ROOT))
    line = f"import os, sys; sys.path.append(os.fsdecode({root!r}))\n".encode("ascii")
    # a shared environment may be read-only: PYTHONPATH does it there
    with contextlib.suppress(OSError):
        if not path.exists() or path.read_bytes() != line:
            path.write_bytes(line)
