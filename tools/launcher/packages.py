"""What the requirements ask for and what lies in the environment; the stamps by which a start
knows, without asking pip, that nothing is missing.
"""

import hashlib
import os
import re
import shutil
from pathlib import Path

from tools.launcher import place
from tools.launcher.troubles import Trouble

# What each set of packages is written down in
SETS = {
    "lab": ["requirements.txt", "constraints.txt"],
    "test": ["requirements.txt", "constraints.txt", "requirements-test.txt"],
}


def plain(name: str) -> str:
    """A package's name in the one spelling that all of its spellings share."""
    return re.sub(r"[-_.]+", "-", name).lower()


def versions(site: Path) -> dict[str, str]:
    """The packages in this folder and their versions: read from the folder's listing, which
    takes a millisecond.
    """
    named = [info.name[: -len(".dist-info")] for info in site.glob("*.dist-info")]
    return {plain(name.split("-")[0]): name.partition("-")[2] for name in named}


def names(site: Path) -> set[str]:
    """The names of the packages in this folder."""
    return set(versions(site))


def pins(which: str) -> dict[str, str]:
    """What the requirements ask for on every system: names and versions."""
    found = {}
    for name in SETS[which]:
        if name.startswith("requirements"):
            text = (place.ROOT / name).read_text(encoding="utf-8")
            lines = re.findall(r"^([\w.-]+)==([\w.!+-]+)[ \t]*(?:#.*)?$", text, re.M)
            found.update((plain(package), version) for package, version in lines)
    return found


def wanted(which: str, version: str) -> str:
    """The hash of all that decides what an install puts into the environment."""
    digest = hashlib.sha256(version.encode())
    for name in SETS[which]:
        digest.update(b"\0" + name.encode() + b"\0" + (place.ROOT / name).read_bytes())
    return digest.hexdigest()


def stamp_of(venv: Path, which: str) -> Path:
    """The file that a finished install leaves."""
    return venv / f"marble-{which}.stamp"


def read_stamp(venv: Path, which: str, facts: dict | None) -> set[str] | None:
    """The packages that a finished install of these very requirements left; None if there was
    no such install.
    """
    try:
        lines = stamp_of(venv, which).read_text().splitlines()
    except (OSError, ValueError):
        return None
    if not facts or lines[:1] != [wanted(which, facts["version"])]:
        return None
    return set(lines[1:])


def write_stamps(venv: Path, which: str, facts: dict | None) -> None:
    """Say that an install has finished, and what it left; `test` holds all of `lab`."""
    for name in ("lab", "test") if which == "test" else ("lab",):
        fresh = venv / "stamp.tmp"
        fresh.write_text(
            "\n".join([wanted(name, facts["version"])] + sorted(names(facts["site"])))
        )
        os.replace(fresh, stamp_of(venv, name))  # so that a stamp is whole or isn't there


def has_cuda(site: Path) -> bool | None:
    """Whether the torch in this folder is built for a GPU; None without a torch. It is read:
    an import takes long.
    """
    try:
        text = (site / "torch" / "version.py").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    return re.search(r"^(cuda|hip|xpu)\b[^=\n]*=\s*['\"]", text, re.M) is not None


def is_ready(venv: Path, which: str, facts: dict | None, cpu: bool = False) -> bool:
    """Whether a finished install is there that nothing was taken from since, and has no CUDA
    where --cpu is given.
    """
    left = read_stamp(venv, which, facts)
    return (
        left is not None
        and (left | set(pins(which))) <= names(facts["site"])
        and not (cpu and has_cuda(facts["site"]))
    )


def check_installed(venv: Path, which: str, site: Path) -> None:
    """Refuse to call an environment ready that doesn't hold what was asked for, whatever pip
    said.
    """
    there = versions(site)
    missing = [
        name
        for name, version in pins(which).items()
        if there.get(name, "").split("+")[0] != version.split("+")[0]
    ]
    if missing:
        listed = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
        raise Trouble(
            f"pip says that all is well, yet {len(missing)} of {len(pins(which))} packages "
            f"are not in {site} ({listed}). {venv / 'install.log'} has its words. Delete "
            f"{venv} and run the same command again."
        )


def sweep(venv: Path, site: Path) -> None:
    """Clear what a cut install has left, so that pip lays those packages anew."""
    shutil.rmtree(str(venv / "marble-tmp"), ignore_errors=True)
    if venv.resolve() not in site.resolve().parents:  # a link leads out of the environment
        return
    for info in site.glob("*.dist-info"):
        # pip writes it last; without it the package may lack files
        if not (info / "INSTALLER").exists():
            shutil.rmtree(str(info), ignore_errors=True)
