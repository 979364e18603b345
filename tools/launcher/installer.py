"""pip's run: its progress on the terminal, and the sentence for what stopped it."""

import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tools.launcher import packages, place, sources, troubles
from tools.launcher.troubles import NotThere, Trouble, say

REFUSED = (
    ": {wrong}. Try again later, or set PIP_INDEX_URL to an index that answers (HTTPS_PROXY "
    "to your network's proxy); then run the same command again."
)


DISK_FULL = r"No space left on device|Errno 28\b|WinError 112|Disk quota exceeded|Errno 122\b"
NO_NETWORK = (
    "Failed to establish a new connection|Name or service not known|Temporary failure in name "
    "resolution|nodename nor servname|getaddrinfo failed|NewConnectionError|"
    "NameResolutionError|ConnectTimeout|ReadTimeout|Read timed out|Network is unreachable|No "
    "route to host|ProxyError|Connection refused|Connection aborted|Connection reset|"
    "RemoteDisconnected"
)


NOT_THERE = r"No matching distribution found for (?P<package>\S+)"
# What a failed command says, and the sentence that follows "... failed"; the first that fits
SENTENCES = (
    (
        "ensurepip is not available|No module named ensurepip",
        ": this Python comes without ensurepip. On Debian and Ubuntu `sudo apt install "
        "python3-venv` brings it; then run the same command again.",
    ),
    (
        "CERTIFICATE_VERIFY_FAILED|SSLError",
        ": the package index's certificate isn't trusted here, as behind a company's proxy. "
        "Set PIP_CERT to your network's certificate file; then run the same command again.",
    ),
    (
        NO_NETWORK,
        ": no network, or the package index can't be reached. Connect (or set PIP_INDEX_URL "
        "or HTTPS_PROXY to what your network uses); then run the same command again: it goes "
        "on from there.",
    ),
    (
        NOT_THERE,
        ": the package index gave no {package} for Python {python} on {system}. Use a 64-bit "
        "Python 3.11, 3.12 or 3.13, and see that the network is there; then run the same "
        "command again.",
    ),
)


def run_pip(
    venv: Path,
    site: Path,
    arguments: list[str],
    settings: dict[str, str],
    held: int | None = None,
    every: float = 0.2,
) -> None:
    """Run pip with its output in install.log and one line of progress on the terminal."""
    log = venv / "install.log"
    command = [str(place.venv_python(venv)), "-m", "pip", "install"]
    command += ["--no-input", "--progress-bar", "off"] + arguments
    env = sources.pip_env(settings)
    # beside the environment: /tmp may be small, and remains are found
    if os.name != "nt" and "TMPDIR" not in env:
        (venv / "marble-tmp").mkdir(exist_ok=True)
        env["TMPDIR"] = str(venv / "marble-tmp")
    say(f"Installing; pip's own words go to {log}")
    start = time.monotonic()
    with open(log, "wb") as out:
        # pip keeps the lock too, so that a next start waits for a pip that outlived its
        # launcher
        keep = {"pass_fds": (held,)} if held is not None and os.name != "nt" else {}
        options = dict(keep, stdout=out, stderr=subprocess.STDOUT, env=env)
        process = subprocess.Popen(command, **options)
        try:
            watch(process, log, site, start, every)
        except BaseException:
            stop(process)
            raise
    if process.returncode:
        said = log.read_text(encoding="utf-8", errors="replace")
        raise diagnose(said, process.returncode, venv, "The install", settings)
    say(f"Installed in {time.monotonic() - start:.0f} s.")


def watch(
    process: subprocess.Popen, log: Path, site: Path, start: float, every: float
) -> None:
    """Show what pip is at, until it ends: one line that moves on a terminal, a line each half
    minute elsewhere.
    """
    shown = 0.0
    live = sys.stdout.isatty()
    while process.poll() is None:
        time.sleep(every)
        now = time.monotonic() - start
        if now - shown >= (1 if live else 30):
            shown = now
            line = f"{now:5.0f} s  {activity(log, site)}"
            width = shutil.get_terminal_size().columns - 1
            print(
                "\r" + line[:width].ljust(width) if live else line,
                end="" if live else "\n",
                flush=True,
            )
    if live and shown:
        print("\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r", end="", flush=True)


def activity(log: Path, site: Path) -> str:
    """The last thing that pip's log says it does, in a few words."""
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - 20000))
        text = file.read().decode("utf-8", "replace")
    listed = re.findall(r"^Installing collected packages: (.*)$", text, re.M)
    if listed:  # from here on pip is silent; it goes through them in this order
        names = [packages.plain(name) for name in listed[-1].split(", ")]
        coming = [name for name in names if name not in packages.names(site)]
        if not coming:
            return "finishing"
        count = len(names) - len(coming) + 1
        return f"installing {coming[0]} ({count} of {len(names)})"
    found = re.findall(
        r"^\s*(Collecting|Downloading|Using cached|Processing) (\S+)(.*)$", text, re.M
    )
    if not found:
        return "starting pip"
    verb, name, rest = found[-1]
    size = re.search(r"\(([\d.]+ [kMG]B)\)", rest)
    name = name.split("/")[-1]
    return f"{verb.lower()} {name.split('-')[0]}" + (f" ({size.group(1)})" if size else "")


def stop(process: subprocess.Popen) -> None:
    """End a child and wait for it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def diagnose(
    text: str, code: int, venv: Path, what: str, settings: dict[str, str] | None = None
) -> Trouble:
    """The trouble behind a failed command's output, with its mend."""
    if re.search(DISK_FULL, text):
        return troubles.disk_full(venv)
    for pattern, sentence in SENTENCES:
        found = re.search(pattern, text)
        if found:
            kind = NotThere if pattern == NOT_THERE else Trouble
            asks = kind is NotThere and settings is not None
            wrong = sources.refusal(settings) if asks else ""
            facts = {"python": sys.version.split()[0], "system": platform.system()}
            facts |= {"wrong": wrong, **found.groupdict()}
            sentence = (REFUSED if wrong else sentence).format(**facts)
            return kind(f"{what} failed{sentence}")
    if "Permission denied" in text or "Errno 13" in text or "Read-only file system" in text:
        return troubles.no_writing(venv)
    if code in (-9, 137):
        return Trouble(
            f"{what} was killed, as when memory runs out. Close other programs; then run the "
            "same command again."
        )
    lines = text.strip().splitlines() or ["nothing was said"]
    errors = [line for line in lines if re.match(r"\s*(ERROR|error|\w*Error):", line)]
    return Trouble(
        f"{what} failed: {(errors or lines)[-1].strip()} The rest is in "
        f"{venv / 'install.log'}; if trying again doesn't help, delete {venv}."
    )
