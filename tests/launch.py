"""The launcher on an empty checkout, with pip and the environment's Python played by
stand-ins: nothing is installed, and no network is asked.
"""

import json
import re
import shutil
import subprocess
from collections import namedtuple
from pathlib import Path

import pytest

import course as entry
from tools.launcher import installer, place, sources

PINS = ("requirements.txt", "constraints.txt", "requirements-test.txt")


def lay(tmp_path, name, version="1", cuda=None):
    """Put a package where pip would; torch with the file that says what it is built for."""
    site = tmp_path / ".venv/lib/site-packages"
    for old in site.glob(f"{name}-*.dist-info"):
        shutil.rmtree(old)
    (site / f"{name}-{version}.dist-info").mkdir()
    (site / f"{name}-{version}.dist-info/INSTALLER").write_text("pip\n")
    if name == "torch":
        (site / "torch").mkdir(exist_ok=True)
        (site / "torch/version.py").write_text(
            f"cuda: Optional[str] = {cuda!r}\nhip: Optional[str] = None\n"
        )


def pips(state):
    """The command lines of pip alone."""
    return [call for call in state.calls if call != ["venv"]]


@pytest.fixture
def course(tmp_path, monkeypatch):
    """The launcher, for a checkout that is an empty folder with its requirements files."""
    monkeypatch.setattr(place, "ROOT", tmp_path)
    for name in ("MARBLE_VENV", "CI", "PYTHONPATH", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "notebooks").mkdir()
    for name in PINS:
        (tmp_path / name).write_text(f"{name}: numpy==1\n")
    return entry


@pytest.fixture
def pip(course, tmp_path, monkeypatch):
    """A stand-in for pip and for `python -m venv`; `.calls` counts, `.envs` has the
    environment of each pip, and `.answer` is what the next run gives: its log, its code, what
    it raises, whether it installs, and its settings.
    """
    venv = tmp_path / ".venv"
    site = venv / "lib" / "site-packages"
    answer = {"log": "", "code": 0, "raises": None, "installs": True, "settings": ""}
    state = namedtuple("Pip", "calls envs answer")([], [], answer)

    def install(words):
        for word in words:
            text = Path(word).read_text() if word.endswith(".txt") else word
            for name, version in re.findall(r"^([\w.-]+)==([\w.+]+)$", text, re.M):
                here = [path.name for path in site.glob(f"{name}-{version}*.dist-info")]
                if not here:  # as pip does: 2.13.0+cpu satisfies ==2.13.0
                    lay(tmp_path, name, version)

    class Process:
        def __init__(self, command, stdout, env, **options):
            assert command[1:4] == ["-m", "pip", "install"]
            state.calls.append(command)
            state.envs.append(env)
            stdout.write(answer["log"].encode())
            self.returncode = answer["code"]
            if answer["installs"] and not self.returncode and not answer["raises"]:
                install(command)

        def poll(self):
            if answer["raises"]:
                raise answer["raises"]
            return self.returncode

    def run(command, **options):
        if command[-2:] == ["config", "list"]:
            return subprocess.CompletedProcess(command, 0, answer["settings"], "")
        if "venv" in command:
            state.calls.append(["venv"])
            site.mkdir(parents=True)
            (venv / "pyvenv.cfg").touch()
        elif not site.exists():
            raise FileNotFoundError(command[0])
        return subprocess.CompletedProcess(
            command, 0, json.dumps(["3.12.1", str(site), True]), ""
        )

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(subprocess, "Popen", Process)
    monkeypatch.setattr(installer, "stop", lambda process: None)
    monkeypatch.setattr(sources, "answer", lambda *a, **options: (200, ""))
    return state
