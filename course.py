#!/usr/bin/env python3
"""The course's launcher: sets up what is missing, then starts it. Needs nothing but Python
3.11 or later.

python3 course.py lab [NAME]      set up, check data and weights, open JupyterLab (NAME: a
                                  lesson, such as 04) on your own copy of it, in my/
python3 course.py reset NAME ...  lay the course's lesson in my/ anew; yours goes to my/before/
                                  (--all: every lesson)
python3 course.py test            set up, then run everything that CI runs
python3 course.py doctor          say what is there, what is wrong and how to mend it
python3 course.py sync            bring notebooks, their text twins and the code they show in
                                  step (--check, --execute)
python3 course.py html NAME       a lesson as one HTML file that moves by itself (NAME as for
                                  lab; --out FILE)
python3 course.py COMMAND ...     train, sample, evaluate, showdown, sd, verify: the
                                  library's own (COMMAND --help has their flags)

lab takes --no-browser, --port N and --host H; what it doesn't know goes to JupyterLab.
test takes --only NAME,NAME (tools/ci.py has the phases); the rest goes to pytest.
--cpu (lab, test): on Linux, take the build of torch without CUDA, 0.2 GB instead of 3. Later
starts remember it; for CUDA again, delete the virtual environment and start without --cpu.
MARBLE_VENV=FOLDER in the environment puts the virtual environment there instead of in .venv.
"""

# The syntax here stays readable to Python 3.8, so that an old Python gets a sentence and not a
# SyntaxError.
import signal

# Until `main` can catch it, Ctrl+C ends this without a trace.
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import ast
import contextlib
import difflib
import errno
import hashlib
import http.client
import importlib.util
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parent
OLDEST = (3, 11)
FIRST = "00_start_here.ipynb"
SETS = {
    "lab": ["requirements.txt", "constraints.txt"],
    "test": ["requirements.txt", "constraints.txt", "requirements-test.txt"],
}
# PyTorch's builds for processors, without CUDA
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
NEED_GB = 2.5  # measured without CUDA, with the tests: 1.8 at its peak, 1.7 when done
NEED_CUDA_GB = 7.5  # with CUDA: 6.4 seen while pip still unpacked, 5.2 when done
OWN = ("lab", "reset", "test", "doctor", "sync", "help")
PASSED_ON = ("train", "sample", "evaluate", "showdown", "sd", "html", "verify")
# Our own stamps: in a folder without one of them nothing is changed, and nothing is cleared.
UNFINISHED, MADE = "marble-unfinished", "marble-made"
# What `python -m venv`, pip and this file put into an environment: all that is ever cleared
CLEARED = ("bin", "include", "lib", "lib64", "etc", "share", "Scripts", "Include", "Lib") + (
    "pyvenv.cfg",
    "install.log",
    "marble-*",
)


class Trouble(Exception):
    """Something the reader can mend: one sentence on what is wrong, one on the mend."""


class NotThere(Trouble):
    """No source of packages that answers has what was asked for."""


# ---------------------------------------------------------------- the virtual environment


def venv_dir():
    """The folder of the virtual environment."""
    given = os.environ.get("MARBLE_VENV") or ROOT / ".venv"
    try:
        return Path(given).expanduser().absolute()
    except RuntimeError:  # ~NAME of a user who isn't there
        raise Trouble(
            "MARBLE_VENV names {}, a home folder that isn't known. Write it out.".format(given)
        ) from None


def check_place(venv):
    """Refuse a place where no folder can be (at or below a file, or on a drive that isn't
    there) and one that holds what isn't ours.
    """
    places = (venv, *venv.parents)
    there = next((place for place in places if os.path.lexists(str(place))), None)
    if there is None:
        raise Trouble(
            "The environment can't be in {}: there is no {} here. Set MARBLE_VENV to a folder "
            "on a disk that is here.".format(venv, venv.anchor)
        )
    if not os.path.isdir(str(there)):
        raise Trouble(
            "The environment can't be in {}: {} is not a folder. Move that away, or set "
            "MARBLE_VENV to a folder that is empty or doesn't exist.".format(venv, there)
        )
    if venv.is_dir() and any(venv.iterdir()) and not is_own(venv):
        raise Trouble(
            "{} holds something that this launcher didn't make, so it is left alone. Move it "
            "away, or set MARBLE_VENV to a folder that is empty or doesn't exist.".format(venv)
        )


def is_own(venv):
    """Whether the environment in this folder bears a stamp of this launcher."""
    return any(path.is_file() and not is_link(path) for path in venv.glob("marble-*"))


def is_link(path):
    """Whether this is a link, a junction of Windows among them."""
    return os.path.islink(str(path)) or bool(getattr(os.lstat(str(path)), "st_reparse_tag", 0))


def venv_python(venv, windows=os.name == "nt"):
    """The path of the environment's Python, which lies elsewhere on Windows."""
    return venv / "Scripts" / "python.exe" if windows else venv / "bin" / "python"


def check_python(version=None):
    """Refuse a Python that is too old, naming a newer one where the PATH has it."""
    version = tuple(version or sys.version_info[:3])
    if version[:2] >= OLDEST:
        return
    found = [
        name for name in ("python3.13", "python3.12", "python3.11") if runs(shutil.which(name))
    ]
    mend = (
        "Run it with {}, which is here.".format(found[0])
        if found
        else "Install a newer one from python.org."
    )
    raise Trouble(
        "This is Python {}, and the course needs 3.11 or later. {}".format(
            ".".join(map(str, version)), mend
        )
    )


def runs(python):
    """Whether this path is a Python that starts."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        return bool(python) and subprocess.call([python, "-V"], timeout=60, **quiet) == 0
    except (OSError, subprocess.SubprocessError):
        return False


def probe(python):
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


def wanted(which, version):
    """The hash of all that decides what an install puts into the environment."""
    digest = hashlib.sha256(version.encode())
    for name in SETS[which]:
        digest.update(b"\0" + name.encode() + b"\0" + (ROOT / name).read_bytes())
    return digest.hexdigest()


def stamp_of(venv, which):
    return venv / "marble-{}.stamp".format(which)


def read_stamp(venv, which, facts):
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


def is_ready(venv, which, facts, cpu=False):
    """Whether a finished install is there that nothing was taken from since, and has no CUDA
    where --cpu is given.
    """
    left = read_stamp(venv, which, facts)
    return (
        left is not None
        and (left | set(pins(which))) <= packages(facts["site"])
        and not (cpu and has_cuda(facts["site"]))
    )


def write_stamps(venv, which, facts):
    """Say that an install has finished, and what it left; `test` holds all of `lab`."""
    for name in ("lab", "test") if which == "test" else ("lab",):
        fresh = venv / "stamp.tmp"
        fresh.write_text(
            "\n".join([wanted(name, facts["version"])] + sorted(packages(facts["site"])))
        )
        os.replace(fresh, stamp_of(venv, name))  # so that a stamp is whole or isn't there


def plain(name):
    """A package's name in the one spelling that all of its spellings share."""
    return re.sub(r"[-_.]+", "-", name).lower()


def versions(site):
    """The packages in this folder and their versions: read from the folder's listing, which
    takes a millisecond.
    """
    named = [info.name[: -len(".dist-info")] for info in site.glob("*.dist-info")]
    return {plain(name.split("-")[0]): name.partition("-")[2] for name in named}


def packages(site):
    """The names of the packages in this folder."""
    return set(versions(site))


def pins(which):
    """What the requirements ask for on every system: names and versions."""
    found = {}
    for name in SETS[which]:
        if name.startswith("requirements"):
            text = (ROOT / name).read_text(encoding="utf-8")
            lines = re.findall(r"^([\w.-]+)==([\w.!+-]+)[ \t]*(?:#.*)?$", text, re.M)
            found.update((plain(package), version) for package, version in lines)
    return found


def make_venv(venv):
    """Make the virtual environment, over the remains of one that is broken or was never
    finished.
    """
    needed = ("venv", "ensurepip")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise Trouble(
            "This Python comes without {}, so it can't make a virtual environment. On Debian "
            "and Ubuntu `sudo apt install python3-venv` brings it; then run this command "
            "again.".format(missing[0])
        )
    clear(venv)
    venv.mkdir(parents=True, exist_ok=True)
    unfinished = venv / UNFINISHED
    unfinished.touch()
    say("Making the virtual environment in {}".format(venv))
    command = [sys.executable, "-m", "venv", str(venv)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = done.stdout + done.stderr
        raise diagnose(said, done.returncode, venv, "Making the virtual environment")
    os.replace(unfinished, venv / MADE)


def clear(venv):
    """Clear the remains of an environment that bears our stamp; never through a link."""
    if not venv.is_dir() or not any(venv.iterdir()):
        return
    check_place(venv)
    if is_link(venv):
        raise Trouble(
            "The environment in {} is broken, and that folder is a link, which is never "
            "cleared. Empty {} yourself, or remove the link.".format(venv, venv.resolve())
        )
    (venv / UNFINISHED).touch()  # stays, so that a clearing that is cut is gone on with
    for child in list(venv.iterdir()):
        if child.name == UNFINISHED or not any(fnmatch(child.name, name) for name in CLEARED):
            continue
        if child.is_dir() and not is_link(child):
            shutil.rmtree(str(child))
        else:
            child.unlink()


def set_up(which, cpu=False):
    """Bring the virtual environment to what `which` needs and return its Python; takes a
    moment when it's there.
    """
    check_python()
    venv = venv_dir()
    check_place(venv)
    python = venv_python(venv)
    facts = facts_of(venv)
    if not is_ready(venv, which, facts, cpu):
        venv.parent.mkdir(parents=True, exist_ok=True)
        with lock(venv.parent / (venv.name + ".lock")) as held:
            check_place(venv)
            facts = facts_of(venv)
            if not is_ready(venv, which, facts, cpu):
                facts = install(venv, which, facts, cpu, held)
    link(facts["site"])
    return python


def facts_of(venv):
    """What `probe` says of the environment here; None also where its making was cut off."""
    return None if (venv / UNFINISHED).exists() else probe(venv_python(venv))


def install(venv, which, facts, cpu, held=None):
    """Install the requirements into the environment, which is made first if it must be."""
    # who once took the small build doesn't get the large one unasked
    cpu = cpu or (venv / "marble-cpu").exists()
    check_disk(venv, cpu)
    if facts is None:
        make_venv(venv)
        facts = probe(venv_python(venv))
        if facts is None:
            raise Trouble(
                "The virtual environment in {} doesn't start. Delete that folder and try "
                "again.".format(venv)
            )
    gone = (read_stamp(venv, which, facts) or set()) - packages(facts["site"])
    if gone:
        names = ", ".join(sorted(gone))
        say("Gone from the environment since it was set up: {}.".format(names))
    (venv / MADE).touch()  # it stays ours, however this ends
    for old in [stamp_of(venv, name) for name in SETS] + [venv / "marble-cpu"]:
        with contextlib.suppress(FileNotFoundError):
            old.unlink()
    sweep(venv, facts["site"])
    if cpu:
        (venv / "marble-cpu").touch()
    say_build(venv, facts["site"], cpu)
    settings = answering(pip_settings(venv_python(venv)))
    if cpu:
        small_torch(venv, facts["site"], settings, held)
    requirements = "requirements-test.txt" if which == "test" else "requirements.txt"
    run_pip(venv, facts["site"], ["-r", str(ROOT / requirements)], settings, held)
    shutil.rmtree(str(venv / "marble-tmp"), ignore_errors=True)
    check_installed(venv, which, facts["site"])
    settle(venv)
    write_stamps(venv, which, facts)
    return facts


def check_installed(venv, which, site):
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
        raise Trouble(
            "pip says that all is well, yet {} of {} packages are not in {} ({}{}). {} has "
            "its words. Delete {} and run the same command again.".format(
                len(missing),
                len(pins(which)),
                site,
                ", ".join(missing[:3]),
                " ..." if len(missing) > 3 else "",
                venv / "install.log",
                venv,
            )
        )


def settle(venv):
    """Give JupyterLab the settings that keep it from asking about news and from looking for
    updates.
    """
    path = venv / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    quiet = {
        "@jupyterlab/apputils-extension:notification": {
            "fetchNews": "false",
            "checkForUpdates": False,
        }
    }
    path.write_text(json.dumps(quiet), encoding="utf-8")


def sweep(venv, site):
    """Clear what a cut install has left, so that pip lays those packages anew."""
    shutil.rmtree(str(venv / "marble-tmp"), ignore_errors=True)
    if venv.resolve() not in site.resolve().parents:  # a link leads out of the environment
        return
    for info in site.glob("*.dist-info"):
        # pip writes it last; without it the package may lack files
        if not (info / "INSTALLER").exists():
            shutil.rmtree(str(info), ignore_errors=True)


def link(site):
    """Let the environment's Python import `course_lib` from where this checkout lies now."""
    path = site / "marble_course.pth"
    # ASCII alone, since Python 3.11 reads such a file in the locale's encoding; bytes, since
    # that reads paths as well
    line = "import os, sys; sys.path.append(os.fsdecode({!r}))\n".format(
        os.fsencode(str(ROOT))
    ).encode("ascii")
    # a shared environment may be read-only: PYTHONPATH does it there
    with contextlib.suppress(OSError):
        if not path.exists() or path.read_bytes() != line:
            path.write_bytes(line)


@contextlib.contextmanager
def lock(path):
    """Hold the set-up's lock, waiting for another start; the system frees it when its holder
    ends, however it ends.
    """
    with open(path, "a+b") as file:
        said = False
        while not try_lock(file):
            if not said:
                say("Another start is setting up the environment; waiting for it.")
            said = True
            time.sleep(0.5)
        yield file.fileno()


def try_lock(file):
    """Take the lock on an open file if it is free."""
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # some network folders know no locks: go on without one
        return error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
    return True


# ---------------------------------------------------------------- torch, with CUDA or without


def has_cuda(site):
    """Whether the torch in this folder is built for a GPU; None without a torch. It is read:
    an import takes long.
    """
    try:
        text = (site / "torch" / "version.py").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    return re.search(r"^(cuda|hip|xpu)\b[^=\n]*=\s*['\"]", text, re.M) is not None


def torch_wanted(site):
    """The full name of the small build of torch, where it must be installed; "" where a torch
    that will do is there, and where pip's usual build is the small one.
    """
    version = pins("lab").get("torch", "none")
    if has_cuda(site):
        return "torch=={}+cpu".format(version)
    here = versions(site).get("torch", "").split("+")[0] == version
    return "" if here or sys.platform != "linux" else "torch=={}+cpu".format(version)


def small_torch(venv, site, settings, held=None):
    """Install torch's build for processors, and it alone: its index is asked for nothing else,
    and not at all where it doesn't answer.
    """
    torch = torch_wanted(site)
    if not torch:
        return
    offline = "no-index" in settings
    wrong = "" if offline else silence(CPU_INDEX + "/torch/", settings)
    if wrong:
        say("{} {}.".format(CPU_INDEX, wrong))
    more = [] if wrong or offline else ["--extra-index-url", CPU_INDEX]
    try:
        # the usual index has no build with such a name
        if wrong and not settings.keys() & {"index-url", "extra-index-url", "find-links"}:
            raise NotThere
        run_pip(venv, site, ["--no-deps", torch] + more, settings, held)
    except NotThere:
        with contextlib.suppress(FileNotFoundError):
            (venv / "marble-cpu").unlink()  # a start without --cpu may take the other build
        raise Trouble(
            "{} can't be had: {} {}, and no other source has that build. Connect, then run "
            "the same command again; or leave --cpu out, and the build with CUDA is taken "
            "(about 3 GB).".format(torch, CPU_INDEX, wrong or "doesn't offer it")
        ) from None


def say_build(venv, site, cpu):
    """Say which build of torch is to come, where that may surprise."""
    if cpu and has_cuda(site):
        say(
            "The torch here is built with CUDA. --cpu puts the small build in its place; "
            "CUDA's own libraries stay.\nTo be rid of those as well, delete {} and run the "
            "same command again.".format(venv)
        )
        return
    asked = cpu or CPU_INDEX in " ".join(os.environ.values())
    if sys.platform == "linux" and not asked and not shutil.which("nvidia-smi"):
        say("No NVIDIA GPU is seen here: --cpu would take the small build of torch.")


# ---------------------------------------------------------------- pip, and what can go wrong
# with it


# The settings of pip that are left as they are: where packages come from, and how they are
# fetched. Those that say where packages go, and whether at all, are the launcher's.
KEPT = (
    "index-url pypi-url extra-index-url no-index find-links trusted-host cert client-cert "
    "proxy timeout default-timeout retries resume-retries cache-dir no-cache-dir constraint "
    "build-constraint keyring-provider use-feature use-deprecated only-binary no-binary "
    "prefer-binary disable-pip-version-check config-settings use-pep517 no-build-isolation"
).split()
USUAL_INDEX = "https://pypi.org/simple"


def pip_settings(python):
    """pip's own settings, from its files and from the environment, as far as they are kept."""
    env = pip_env({}, os.environ.get("PIP_CONFIG_FILE"))
    for name, value in os.environ.items():
        if name.startswith("PIP_") and name[4:].lower().replace("_", "-") in KEPT:
            env[name] = value
    command = [str(python), "-m", "pip", "config", "list"]
    done = subprocess.run(
        command, env=dict(env, PIP_QUIET="0"), capture_output=True, text=True
    )
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines() or ["nothing was said"]
        raise Trouble(
            "pip's settings can't be read: {} Mend or remove that file (`python3 -m pip "
            "config debug` names it); then run the same command again.".format(said[-1])
        )
    found = {}
    for line in done.stdout.splitlines():
        name, equals, value = line.partition("=")
        with contextlib.suppress(ValueError, SyntaxError):
            found[name] = ast.literal_eval(value) if equals else ""
    # as pip ranks them: the environment over [install] over [global]
    parts = [(part, name) for part in ("global", "install", ":env:") for name in KEPT]
    ranked = [(name, found.get("{}.{}".format(part, name))) for part, name in parts]
    settings = {name: value for name, value in ranked if value}
    if "pypi-url" in settings:  # its old name
        settings.setdefault("index-url", settings.pop("pypi-url"))
    if settings.get("no-index", "").lower() in ("0", "n", "no", "f", "false", "off"):
        del settings["no-index"]
    return settings


def pip_env(settings, config=os.devnull):
    """The environment that pip runs in: no other setting of pip's, and no other folder of
    packages, than those given.
    """
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PIP_") and name not in ("PYTHONPATH", "PYTHONHOME")
    }
    if config:
        env["PIP_CONFIG_FILE"] = config
    for name, value in settings.items():
        env["PIP_" + name.upper().replace("-", "_")] = value
    # pip itself refuses any other Python than an environment's
    return dict(env, PYTHONUNBUFFERED="1", PIP_REQUIRE_VIRTUALENV="1")


def bare(url):
    """An address without the name and password that may stand in it."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def answer(url, settings, seconds=8):
    """What a source of packages answers: the number of HTTP (0 without one) and a few words on
    what is wrong, "" where nothing is or where pip must find out.
    """
    proxy = settings.get("proxy")
    handlers = [urllib.request.ProxyHandler({"http": proxy, "https": proxy})] if proxy else []
    try:
        opener = urllib.request.build_opener(*handlers)
        opener.open(bare(url), timeout=seconds).close()
    except urllib.error.HTTPError as error:
        return error.code, "answers with HTTP error {}".format(error.code)
    except OSError as error:
        reason = getattr(error, "reason", error)
        # a certificate that isn't trusted here: pip may have been told of another
        if "SSL" not in type(reason).__name__:
            return 0, "doesn't answer ({})".format(getattr(reason, "strerror", 0) or reason)
    except (ValueError, http.client.HTTPException):
        pass
    return 200, ""


def silence(url, settings):
    """What is wrong with a source that is out of reach; "" where it answers, be it with a
    refusal, as one does that asks for a password first.
    """
    code, wrong = answer(url, settings)
    return "" if 0 < code < 500 else wrong


def refusal(settings):
    """What is wrong with the main index, as pip doesn't say it: for pip, one that refuses or
    fails has no such package.
    """
    index = settings.get("index-url", USUAL_INDEX)
    if "no-index" in settings or not index.startswith(("http://", "https://")):
        return ""
    code, wrong = answer(index.rstrip("/") + "/tqdm/", settings)
    return "" if not wrong or code == 404 else "{} {}".format(bare(index), wrong)


def answering(settings):
    """The settings without the sources of packages that don't answer, each of which would cost
    its time-out for every package; nothing is asked where there is but one source.
    """
    listed = {
        name: settings.get(name, "").split() for name in ("extra-index-url", "find-links")
    }
    if "no-index" in settings:
        listed["extra-index-url"] = []
    elif any(listed.values()):
        listed["index-url"] = [settings.get("index-url", USUAL_INDEX)]
    urls = [(name, url) for name in listed for url in listed[name]]
    wrong = {}

    def ask(name, url):
        project = url if name == "find-links" else url.rstrip("/") + "/tqdm/"
        wrong[url] = silence(project, settings)

    asked = [
        threading.Thread(target=ask, args=pair, daemon=True)
        for pair in urls
        if pair[1].startswith(("http://", "https://"))
    ]
    for thread in asked:
        thread.start()
    for thread in asked:
        thread.join()
    good = {name: [url for url in listed[name] if not wrong.get(url)] for name in listed}
    if not any(good.values()):
        return settings  # then pip may try it all
    for url in wrong:
        if wrong[url]:
            say("{} {}: going on without it.".format(bare(url), wrong[url]))
    kept = {name: value for name, value in settings.items() if name not in listed}
    if good.get("index-url") == [USUAL_INDEX]:
        del good["index-url"]
    elif "index-url" in good and not good["index-url"]:
        if good["extra-index-url"]:
            good["index-url"] = [good["extra-index-url"].pop(0)]
        else:
            kept["no-index"] = "1"
    kept.update((name, " ".join(values)) for name, values in good.items() if values)
    return kept


def run_pip(venv, site, arguments, settings, held=None, every=0.2):
    """Run pip with its output in install.log and one line of progress on the terminal."""
    log = venv / "install.log"
    command = [str(venv_python(venv)), "-m", "pip", "install"]
    command += ["--no-input", "--progress-bar", "off"] + arguments
    env = pip_env(settings)
    # beside the environment: /tmp may be small, and remains are found
    if os.name != "nt" and "TMPDIR" not in env:
        (venv / "marble-tmp").mkdir(exist_ok=True)
        env["TMPDIR"] = str(venv / "marble-tmp")
    say("Installing; pip's own words go to {}".format(log))
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
    say("Installed in {:.0f} s.".format(time.monotonic() - start))


def watch(process, log, site, start, every):
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
            line = "{:5.0f} s  {}".format(now, activity(log, site))
            width = shutil.get_terminal_size().columns - 1
            print(
                "\r" + line[:width].ljust(width) if live else line,
                end="" if live else "\n",
                flush=True,
            )
    if live and shown:
        print("\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r", end="", flush=True)


def activity(log, site):
    """The last thing that pip's log says it does, in a few words."""
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - 20000))
        text = file.read().decode("utf-8", "replace")
    listed = re.findall(r"^Installing collected packages: (.*)$", text, re.M)
    if listed:  # from here on pip is silent; it goes through them in this order
        names = [plain(name) for name in listed[-1].split(", ")]
        coming = [name for name in names if name not in packages(site)]
        if not coming:
            return "finishing"
        count = len(names) - len(coming) + 1
        return "installing {} ({} of {})".format(coming[0], count, len(names))
    found = re.findall(
        r"^\s*(Collecting|Downloading|Using cached|Processing) (\S+)(.*)$", text, re.M
    )
    if not found:
        return "starting pip"
    verb, name, rest = found[-1]
    size = re.search(r"\(([\d.]+ [kMG]B)\)", rest)
    name = name.split("/")[-1]
    return "{} {}{}".format(
        verb.lower(), name.split("-")[0], " ({})".format(size.group(1)) if size else ""
    )


def stop(process):
    """End a child and wait for it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


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


def diagnose(text, code, venv, what, settings=None):
    """The trouble behind a failed command's output, with its mend."""
    if re.search(DISK_FULL, text):
        return disk_full(venv)
    for pattern, sentence in SENTENCES:
        found = re.search(pattern, text)
        if found:
            kind = NotThere if pattern == NOT_THERE else Trouble
            wrong = refusal(settings) if pattern == NOT_THERE and settings is not None else ""
            sentence = REFUSED if wrong else sentence
            facts = {"python": sys.version.split()[0], "system": platform.system()}
            facts["wrong"] = wrong
            facts.update(found.groupdict())
            return kind("{} failed{}".format(what, sentence.format(**facts)))
    if "Permission denied" in text or "Errno 13" in text or "Read-only file system" in text:
        return no_writing(venv)
    if code in (-9, 137):
        return Trouble(
            "{} was killed, as when memory runs out. Close other programs; then run the same "
            "command again.".format(what)
        )
    lines = text.strip().splitlines() or ["nothing was said"]
    errors = [line for line in lines if re.match(r"\s*(ERROR|error|\w*Error):", line)]
    return Trouble(
        "{} failed: {} The rest is in {}; if trying again doesn't help, delete {}.".format(
            what, (errors or lines)[-1].strip(), venv / "install.log", venv
        )
    )


def disk_full(venv):
    return Trouble(
        "The disk is full: the environment in {} needs {:g} GB, {:g} GB with CUDA. Make room, "
        "or set MARBLE_VENV to a folder on another disk; then run the same command "
        "again.".format(venv, NEED_GB, NEED_CUDA_GB)
    )


def no_writing(place):
    return Trouble(
        "{} can't be written to. Change its owner or rights, or set MARBLE_VENV to a folder "
        "of your own.".format(place)
    )


def free_gb(path):
    """Gigabytes free on the disk that this path lies on or would lie on; 0 where there is no
    such disk.
    """
    there = next((place for place in (path, *path.parents) if place.exists()), None)
    return shutil.disk_usage(there).free / 1e9 if there else 0.0


def check_disk(venv, cpu):
    """Refuse an install that can't fit; warn of one that may not."""
    free = free_gb(venv)
    if (venv / "install.log").exists():
        return  # taken up again: part of it is there, so the space it still needs isn't known
    if free < NEED_GB:
        raise Trouble(
            "Only {:.1f} GB are free where {} would be, and the set-up needs {:g} GB. Make "
            "room, or set MARBLE_VENV to a folder on another disk.".format(free, venv, NEED_GB)
        )
    if sys.platform == "linux" and not cpu and free < NEED_CUDA_GB:
        say(
            "{:.1f} GB are free; torch with CUDA can need {:g}. If it fails, make room or use "
            "--cpu.".format(free, NEED_CUDA_GB)
        )


# ---------------------------------------------------------------- the commands


def say(text):
    print(text, flush=True)


def child_env():
    """The environment of what is started: this checkout's `course_lib` comes first."""
    before = os.environ.get("PYTHONPATH")
    env = dict(os.environ, PYTHONPATH=str(ROOT) + (os.pathsep + before if before else ""))
    # A waiting thread spins 300,000 times before it sleeps, and beside other work it spins
    # away the core that the thread it waits for needs: see benchmarks/waiting_threads.md.
    if "OMP_WAIT_POLICY" not in env:
        env.setdefault("GOMP_SPINCOUNT", "2000")
    return env


def call(python, *arguments, **options):
    """Run the environment's Python to its end and return its exit code."""
    return subprocess.call(
        [str(python)] + [str(a) for a in arguments], env=child_env(), **options
    )


def become(python, *arguments):
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


def take(arguments, flag):
    """Whether a flag is among the arguments, and the arguments without it."""
    return flag in arguments, [a for a in arguments if a != flag]


def lessons():
    """All lessons' notebooks, those for going further last."""
    folder = ROOT / "notebooks"
    return sorted(folder.glob("*.ipynb")) + sorted((folder / "further").glob("*.ipynb"))


# JupyterLab's options that take the next word; what follows another option stands for itself
VALUED = (
    "app-dir browser certfile client-ca config core-mode-dir gateway-url host ip keyfile "
    "log-level notebook-dir port port-retries preferred-dir pylab sock sock-mode transport"
).split()


def takes_next(option):
    """Whether the word after this one is its value."""
    name = option.lstrip("-")
    return option.startswith("-") and "=" not in option and ("." in name or name in VALUED)


def named(argument):
    """The lessons whose file begins like this, as paths."""
    folder = ROOT / "notebooks"
    return [
        path
        for path in lessons()
        if path.relative_to(folder).as_posix().startswith(argument)
        or path.name.startswith(argument)
    ]


def no_lesson(argument):
    """The trouble with a name that no lesson has."""
    folder = ROOT / "notebooks"
    names = [path.relative_to(folder).as_posix().split("_")[0] for path in lessons()]
    return Trouble(
        "There is no lesson {}. Name one by how its file begins ({}), or give the path of a "
        "file within {}.".format(argument, ", ".join(names), ROOT)
    )


def own_copy(lesson):
    """Where the reader's copy of a lesson lies, relative to the checkout; see
    tools/my_lessons.py.
    """
    return "my/" + lesson.relative_to(ROOT / "notebooks").as_posix()


def notebook_of(arguments):
    """The notebook to open (relative to the checkout, slashes) and the other arguments: of a
    lesson the reader's own copy, of a path that very file.
    """
    for index, argument in enumerate(arguments):
        if argument.startswith("-") or (index and takes_next(arguments[index - 1])):
            continue  # an option, or an option's value
        rest = arguments[:index] + arguments[index + 1 :]
        found = named(re.sub("^my/", "", argument))
        if os.path.exists(argument) and (argument.endswith(".ipynb") or not found):
            path = Path(argument).resolve()
            if ROOT == path or ROOT in path.parents:
                return path.relative_to(ROOT).as_posix(), rest
        elif found:
            return own_copy(found[0]), rest
        raise no_lesson(argument)
    first = ROOT / "notebooks" / FIRST
    return (own_copy(first) if first.exists() else None), arguments


def value_of(arguments, *options):
    """The last value that one of these options is given; None without them."""
    found = None
    for index, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if option in options:
            given = value if equals else "".join(arguments[index + 1 : index + 2])
            if not given:
                raise Trouble("{} wants a value after it.".format(option))
            found = given
    return found


def check_address(arguments):
    """Refuse a port or an address that nothing can listen on."""
    port = value_of(arguments, "--port", "--ServerApp.port")
    if port and not (re.match(r"[0-9]{1,5}$", port) and int(port) < 2**16):
        raise Trouble(
            "--port {}: give a number from 1 to 65535, or 0 for any that is free.".format(port)
        )
    host = value_of(arguments, "--host", "--ip", "--ServerApp.ip")
    if not host or host == "*":
        return
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        found = []
    for family, kind, protocol, _, address in found:
        with contextlib.suppress(OSError), socket.socket(family, kind, protocol) as trial:
            trial.bind(address)
            return
    raise Trouble(
        "--host {}: this machine has no such address. Give one of its own; 0.0.0.0 is all of "
        "them, localhost (without --host) this machine alone.".format(host)
    )


def lab_arguments(arguments, root_user=False):
    """JupyterLab's own command line for ours."""
    check_address(arguments)
    notebook, rest = notebook_of(arguments)
    rest = [re.sub(r"^--host(?=$|=)", "--ip", a) for a in rest]
    fixed = [
        "--ServerApp.root_dir={}".format(ROOT),
        # nothing is fetched while the course runs: no news, no look for updates, no list of
        # extensions
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.news_url=None",
        "--LabApp.extension_manager=readonly",
        # a notebook that is saved keeps what moves without its kernel
        "--ContentsManager.pre_save_hook=course_lib.widgets.saved.before_save",
        # prose of about 80 characters a line, figures that don't glare in the dark theme
        "--LabApp.custom_css=True",
        "--ServerApp.tornado_settings={}".format(
            {"static_custom_path": [str(ROOT / "course_lib" / "widgets" / "custom")]}
        ),
    ]
    if notebook:
        # quoted, as a path may hold what means something else in an address: # ? %
        where = urllib.parse.quote(notebook)
        fixed.append("--LabApp.default_url=/lab/tree/{}".format(where))
    if root_user and "--allow-root" not in rest:
        fixed.append("--allow-root")
    if not any(a == "--debug" or "log-level" in a or "log_level" in a for a in rest):
        # tools/lab.py says the one line that is of use
        fixed += ["--log-level=ERROR", "--LabApp.log_level=ERROR"]
    return fixed + rest


def lab(arguments):
    """Set up, verify data and weights, open JupyterLab on the reader's copies."""
    cpu, arguments = take(arguments, "--cpu")
    # a slip is said before an install
    command = lab_arguments(arguments, hasattr(os, "geteuid") and os.geteuid() == 0)
    python = set_up("lab", cpu)
    if call(python, "-m", "course_lib", "verify"):
        raise Trouble(
            "Data or weights are not what they should be (see above). `git checkout -- assets "
            "weights` brings the shipped files back."
        )
    return become(python, ROOT / "tools" / "lab.py", *command)


def reset(arguments):
    """Lay the course's lessons in the reader's folder anew; what lay there is set aside."""
    every, names = take(arguments, "--all")
    chosen = lessons() if every else []
    for name in names:
        found = named(re.sub("^my/", "", name))
        if not found:
            raise no_lesson(name)
        chosen.append(found[0])
    if not chosen:
        raise Trouble(
            "Which lesson? `python3 course.py reset 05`, for example, or `reset --all`. Your "
            "copy is kept in my/before/."
        )
    folder = ROOT / "notebooks"
    chosen = [path.relative_to(folder).as_posix() for path in chosen]
    return become(set_up("lab"), ROOT / "tools" / "my_lessons.py", *chosen)


def doctor(arguments):
    """Say what is there; before the environment is, say what would stop it."""
    venv = venv_dir()
    facts = facts_of(venv)
    # if something is gone since the set-up, the environment's own doctor says what
    if read_stamp(venv, "lab", facts) is not None:
        link(facts["site"])
        return become(venv_python(venv), "-m", "course_lib", "doctor", *arguments)
    lines = before_set_up(venv)
    for good, name, value, mend in lines:
        say(
            "{}  {:<12}{}{}".format(
                "ok  " if good else "MEND", name, value, "" if good else "\n      -> " + mend
            )
        )
    return 0 if all(line[0] for line in lines[:-1]) else 1


def before_set_up(venv):
    """What the set-up itself needs: (good, name, value, mend) a line; the last is the
    environment to come.
    """
    lines = []
    try:
        check_python()
        lines.append(
            (True, "Python", "{} ({})".format(sys.version.split()[0], sys.executable), "")
        )
    except Trouble as trouble:
        lines.append((False, "Python", sys.version.split()[0], str(trouble)))
    pip = all(importlib.util.find_spec(name) for name in ("venv", "ensurepip"))
    lines.append(
        (
            pip,
            "venv",
            "can be made" if pip else "ensurepip is missing",
            "sudo apt install python3-venv",
        )
    )
    try:
        check_place(venv)
    except Trouble as trouble:
        lines.append((False, "folder", str(venv), str(trouble)))
    free = free_gb(venv)
    room = free >= NEED_GB or (venv / "install.log").exists()
    lines.append(
        (
            room,
            "disk",
            "{:.1f} GB free".format(free),
            "make {:g} GB free, or set MARBLE_VENV".format(NEED_GB),
        )
    )
    own = venv.is_dir() and is_own(venv)
    begun = "begun and not finished" if own else "not made yet"
    lines.append((False, "environment", begun, "python3 course.py lab"))
    return lines


def sync(arguments):
    """Bring notebooks, twins and shown code in step."""
    return become(set_up("lab"), ROOT / "tools" / "sync_notebooks.py", *arguments)


def test(arguments):
    """Run what CI runs."""
    cpu, arguments = take(arguments, "--cpu")
    return become(set_up("test", cpu), ROOT / "tools" / "ci.py", *arguments)


def passed_on(command, arguments):
    """Run one of `course_lib`'s own commands."""
    if command not in PASSED_ON:
        close = difflib.get_close_matches(command, OWN + PASSED_ON, 1)
        raise Trouble(
            "There is no command {}. {}".format(
                command,
                "Did you mean `python3 course.py {}`?".format(close[0])
                if close
                else "There are: {}.".format(", ".join(OWN + PASSED_ON)),
            )
        )
    return become(set_up("lab"), "-m", "course_lib", command, *arguments)


def asks_only(command, arguments):
    """Whether a command line asks for help, and nothing is set up that could say more."""
    if command in OWN:
        return bool({"-h", "--help"} & set(arguments))
    if command not in PASSED_ON or not {"-h", "--help"} & set(arguments):
        return False
    venv = venv_dir()
    return not is_ready(venv, "lab", facts_of(venv))


def main(arguments):
    """Run one command; return the exit code."""
    command, rest = (arguments[0], arguments[1:]) if arguments else ("help", [])
    own = {"lab": lab, "reset": reset, "test": test, "doctor": doctor, "sync": sync}
    try:
        if hasattr(sys.stdout, "reconfigure"):  # a path may hold what the terminal can't show
            sys.stdout.reconfigure(errors="backslashreplace")
        if command in ("help", "-h", "--help") or asks_only(command, rest):
            say(__doc__.strip())
            if command in PASSED_ON:
                say(
                    "\n{} lists its own flags once the course is set up: python3 course.py "
                    "lab".format(command)
                )
            return 0
        return own[command](rest) if command in own else passed_on(command, rest)
    except Trouble as trouble:
        print("\n{}".format(trouble), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The same command takes it up again.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our lines has enough of them
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print("\n{}".format(explain(error)), file=sys.stderr)
        return 1


def explain(error):
    """A sentence for the errors of a disk; anything else is a fault of this file and is raised
    as it is.
    """
    if (
        error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", -1))
        or getattr(error, "winerror", None) == 112
    ):
        return disk_full(venv_dir())
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return no_writing(error.filename or venv_dir())
    if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
        return Trouble(
            "{} is in the way of the set-up ({}). Move it away, or set MARBLE_VENV to a "
            "folder that is empty or doesn't exist.".format(
                error.filename or venv_dir(), error.strerror
            )
        )
    path = Path(error.filename) if isinstance(error.filename, str) else None
    if path is not None and error.errno == errno.ENOENT and path.parent == ROOT:
        return Trouble(
            "{} is gone, so this checkout isn't whole. `git checkout -- {}` brings it "
            "back.".format(path, path.name)
        )
    if path is not None:
        return Trouble(
            "The environment can't be in {}: {} ({}). Set MARBLE_VENV to a folder on a disk "
            "of your own.".format(venv_dir(), path, error.strerror)
        )
    raise error


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.exit(main(sys.argv[1:]))
    sys.exit(130)
