"""JupyterLab's command line for ours: the lesson to open, the address to listen on, and what
else it takes. What can't be is refused here, before anything is set up.
"""

import contextlib
import difflib
import os
import re
import socket
import urllib.parse
from pathlib import Path

from tools.launcher import lessons, place
from tools.launcher.troubles import Trouble

# JupyterLab's options that take the next word; what follows another option stands for itself
VALUED = (
    "app-dir browser certfile client-ca config core-mode-dir gateway-url host ip keyfile "
    "log-level notebook-dir port port-retries preferred-dir pylab sock sock-mode transport"
).split()
# its options that take none; a test holds both lists against JupyterLab's own
FLAGS = (
    "allow-root autoreload collaborative core-mode custom-css debug dev-mode "
    "expose-app-in-browser extensions-in-dev-mode generate-config help-all no-browser "
    "no-script script show-config show-config-json skip-dev-build splice-source version watch "
    "y V"
).split()


def takes_next(option: str) -> bool:
    """Whether the word after this one is its value."""
    name = option.lstrip("-")
    return option.startswith("-") and "=" not in option and ("." in name or name in VALUED)


def plain_words(arguments: list[str]) -> list[tuple[int, str]]:
    """The arguments that are neither an option nor an option's value, with their places."""
    return [
        (index, argument)
        for index, argument in enumerate(arguments)
        if not argument.startswith("-") and not (index and takes_next(arguments[index - 1]))
    ]


def check_words(arguments: list[str]) -> None:
    """Refuse an option that JupyterLab doesn't have (it would go on without a word) and a
    second lesson.
    """
    known = ["", *VALUED, *FLAGS]
    for index, argument in enumerate(arguments):
        name = argument.lstrip("-").partition("=")[0]
        is_value = index and takes_next(arguments[index - 1])
        if not argument.startswith("-") or is_value or "." in name or name in known:
            continue
        close = difflib.get_close_matches(name, known, 1)
        mend = "It takes --cpu, --no-browser, --port N, --host H and JupyterLab's own."
        if close:
            mend = f"Did you mean --{close[0]}?"
        raise Trouble(f"lab has no option {argument.partition('=')[0]}. {mend}")
    words = [word for _, word in plain_words(arguments)]
    if len(words) > 1:
        raise Trouble(
            f"lab opens one lesson, and {words[1]} is a second. Leave it out: JupyterLab's "
            "list of files opens the others."
        )


def notebook_of(arguments: list[str]) -> tuple[str | None, list[str]]:
    """The notebook to open (relative to the checkout, slashes) and the other arguments: of a
    lesson the reader's own copy, of a path that very file.
    """
    words = plain_words(arguments)
    if not words:
        first = place.ROOT / "notebooks" / lessons.FIRST
        return (lessons.own_copy(first) if first.exists() else None), arguments
    index, argument = words[0]
    rest = arguments[:index] + arguments[index + 1 :]
    if os.path.exists(argument) and (
        argument.endswith(".ipynb") or not lessons.named(argument)
    ):
        path = Path(argument).resolve()
        if place.ROOT == path or place.ROOT in path.parents:
            return path.relative_to(place.ROOT).as_posix(), rest
    elif lesson := lessons.meant(argument):
        return lessons.own_copy(lesson), rest
    raise lessons.no_lesson(argument)


def value_of(arguments: list[str], *options) -> str | None:
    """The last value that one of these options is given; None without them."""
    found = None
    for index, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if option in options:
            given = value if equals else "".join(arguments[index + 1 : index + 2])
            if not given:
                raise Trouble(f"{option} wants a value after it.")
            found = given
    return found


def check_address(arguments: list[str]) -> None:
    """Refuse a port or an address that nothing can listen on."""
    port = value_of(arguments, "--port", "--ServerApp.port")
    if port and not (re.match(r"[0-9]{1,5}$", port) and int(port) < 2**16):
        raise Trouble(
            f"--port {port}: give a number from 1 to 65535, or 0 for any that is free."
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
        f"--host {host}: this machine has no such address. Give one of its own; 0.0.0.0 is "
        "all of them, localhost (without --host) this machine alone."
    )


def lab_arguments(arguments: list[str], root_user: bool = False) -> list[str]:
    """JupyterLab's own command line for ours."""
    check_address(arguments)
    check_words(arguments)
    notebook, rest = notebook_of(arguments)
    rest = [re.sub(r"^--host(?=$|=)", "--ip", a) for a in rest]
    style = {"static_custom_path": [str(place.ROOT / "course_lib" / "widgets" / "custom")]}
    fixed = [
        f"--ServerApp.root_dir={place.ROOT}",
        # nothing is fetched while the course runs: no news, no look for updates, no list of
        # extensions
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.news_url=None",
        "--LabApp.extension_manager=readonly",
        # a notebook that is saved keeps what moves without its kernel
        "--ContentsManager.pre_save_hook=course_lib.widgets.saved.before_save",
        # prose of about 80 characters a line, figures that don't glare in the dark theme
        "--LabApp.custom_css=True",
        f"--ServerApp.tornado_settings={style}",
    ]
    if notebook:
        # quoted, as a path may hold what means something else in an address: # ? %
        where = urllib.parse.quote(notebook)
        fixed.append(f"--LabApp.default_url=/lab/tree/{where}")
    if root_user and "--allow-root" not in rest:
        fixed.append("--allow-root")
    if not any(a == "--debug" or "log-level" in a or "log_level" in a for a in rest):
        # tools/lab.py says the one line that is of use
        fixed += ["--log-level=ERROR", "--LabApp.log_level=ERROR"]
    return fixed + rest
