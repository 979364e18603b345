"""Where packages come from: which of pip's settings are kept, and which sources answer."""

import ast
import contextlib
import http.client
import os
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from tools.launcher.troubles import Trouble, say

# The settings of pip that are left as they are: where packages come from, and how they are
# fetched. Those that say where packages go, and whether at all, are the launcher's.
KEPT = (
    "index-url pypi-url extra-index-url no-index find-links trusted-host cert client-cert "
    "proxy timeout default-timeout retries resume-retries cache-dir no-cache-dir constraint "
    "build-constraint keyring-provider use-feature use-deprecated only-binary no-binary "
    "prefer-binary disable-pip-version-check config-settings use-pep517 no-build-isolation"
).split()


USUAL_INDEX = "https://pypi.org/simple"


def pip_settings(python: Path) -> dict[str, str]:
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
            f"pip's settings can't be read: {said[-1]} Mend or remove that file (`python3 -m "
            "pip config debug` names it); then run the same command again."
        )
    found = {}
    for line in done.stdout.splitlines():
        name, equals, value = line.partition("=")
        with contextlib.suppress(ValueError, SyntaxError):
            found[name] = ast.literal_eval(value) if equals else ""
    # as pip ranks them: the environment over [install] over [global]
    parts = [(part, name) for part in ("global", "install", ":env:") for name in KEPT]
    ranked = [(name, found.get(f"{part}.{name}")) for part, name in parts]
    settings = {name: value for name, value in ranked if value}
    if "pypi-url" in settings:  # its old name
        settings.setdefault("index-url", settings.pop("pypi-url"))
    if settings.get("no-index", "").lower() in ("0", "n", "no", "f", "false", "off"):
        del settings["no-index"]
    return settings


def pip_env(settings: dict[str, str], config: str | None = os.devnull) -> dict[str, str]:
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


def bare(url: str) -> str:
    """An address without the name and password that may stand in it."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def answer(url: str, settings: dict[str, str], seconds: float = 8) -> tuple[int, str]:
    """What a source of packages answers: the number of HTTP (0 without one) and a few words on
    what is wrong, "" where nothing is or where pip must find out.
    """
    proxy = settings.get("proxy")
    handlers = [urllib.request.ProxyHandler({"http": proxy, "https": proxy})] if proxy else []
    try:
        opener = urllib.request.build_opener(*handlers)
        opener.open(bare(url), timeout=seconds).close()
    except urllib.error.HTTPError as error:
        return error.code, f"answers with HTTP error {error.code}"
    except OSError as error:
        reason = getattr(error, "reason", error)
        # a certificate that isn't trusted here: pip may have been told of another
        if "SSL" not in type(reason).__name__:
            return 0, f"doesn't answer ({getattr(reason, 'strerror', 0) or reason})"
    except (ValueError, http.client.HTTPException):
        pass
    return 200, ""


def silence(url: str, settings: dict[str, str]) -> str:
    """What is wrong with a source that is out of reach; "" where it answers, be it with a
    refusal, as one does that asks for a password first.
    """
    code, wrong = answer(url, settings)
    return "" if 0 < code < 500 else wrong


def refusal(settings: dict[str, str]) -> str:
    """What is wrong with the main index, as pip doesn't say it: for pip, one that refuses or
    fails has no such package.
    """
    index = settings.get("index-url", USUAL_INDEX)
    if "no-index" in settings or not index.startswith(("http://", "https://")):
        return ""
    code, wrong = answer(index.rstrip("/") + "/tqdm/", settings)
    return "" if not wrong or code == 404 else f"{bare(index)} {wrong}"


def sources_of(settings: dict[str, str]) -> dict[str, list[str]]:
    """The sources to choose among, by the setting that names them; the main index is one of
    them only where there is another.
    """
    listed = {
        name: settings.get(name, "").split() for name in ("extra-index-url", "find-links")
    }
    if "no-index" in settings:
        listed["extra-index-url"] = []
    elif any(listed.values()):
        listed["index-url"] = [settings.get("index-url", USUAL_INDEX)]
    return listed


def silences(listed: dict[str, list[str]], settings: dict[str, str]) -> dict[str, str]:
    """What is wrong with each source, all asked at once; "" where one answers."""
    wrong = {}

    def ask(name: str, url: str) -> None:
        project = url if name == "find-links" else url.rstrip("/") + "/tqdm/"
        wrong[url] = silence(project, settings)

    asked = [
        threading.Thread(target=ask, args=(name, url), daemon=True)
        for name in listed
        for url in listed[name]
        if url.startswith(("http://", "https://"))
    ]
    for thread in asked:
        thread.start()
    for thread in asked:
        thread.join()
    return wrong


def answering(settings: dict[str, str]) -> dict[str, str]:
    """The settings without the sources of packages that don't answer, each of which would cost
    its time-out for every package; nothing is asked where there is but one source.
    """
    listed = sources_of(settings)
    wrong = silences(listed, settings)
    good = {name: [url for url in listed[name] if not wrong.get(url)] for name in listed}
    if not any(good.values()):
        return settings  # then pip may try it all
    for url in wrong:
        if wrong[url]:
            say(f"{bare(url)} {wrong[url]}: going on without it.")
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
