"""Slips of the hand on the launcher's command line, and Ctrl+C: a sentence, before anything
is set up.
"""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tools.launcher import commands, environment, handover, judged, jupyter

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def sealed(course, monkeypatch):
    """A launcher that must set nothing up."""
    monkeypatch.setattr(environment, "set_up", lambda *a: pytest.fail("must not start"))
    return course


def sentence(capsys):
    """What was said to standard error, one line."""
    said = capsys.readouterr().err.strip()
    assert said and "\n" not in said and "Traceback" not in said
    return said


# ---------------------------------------------------------------- commands and help


@pytest.mark.parametrize(
    ("slip", "meant"),
    [("smaple", "sample"), ("eval", "evaluate"), ("rest", "reset"), ("Lab", "lab")],
)
def test_a_command_that_is_not_there_is_refused_before_the_set_up(sealed, capsys, slip, meant):
    assert sealed.main([slip, "ddpm-fashion"]) == 1
    assert f"Did you mean `python3 course.py {meant}`?" in sentence(capsys)


@pytest.mark.parametrize("slip", ["xyz", "", "--cpu", "../lab"])
def test_a_word_like_no_command_is_answered_with_the_list(sealed, capsys, slip):
    assert sealed.main([slip]) == 1
    said = sentence(capsys)
    assert "showdown" in said or "Did you mean" in said


def test_the_commands_that_are_passed_on_are_the_librarys(course):
    from course_lib.__main__ import _parser

    choices = next(a.choices for a in _parser()._actions if a.dest == "command")
    assert set(choices) == {*commands.PASSED_ON, "doctor"}


@pytest.mark.parametrize(
    "command", ["lab", "test", "reset", "sync", "doctor", "train", "html"]
)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_builds_nothing(sealed, capsys, command, flag):
    assert sealed.main([command, flag]) == 0
    said = capsys.readouterr().out
    assert "python3 course.py lab" in said and (command in said)


def test_help_of_the_library_once_it_is_set_up(course, pip, monkeypatch):
    environment.set_up("lab")
    seen = []
    monkeypatch.setattr(handover, "become", lambda *a: seen.append(a[1:]) or 0)
    assert course.main(["train", "--help"]) == 0
    assert seen == [("-m", "course_lib", "train", "--help")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["test", "--only", "wrong"],
            "--only takes some of verify, ruff, format, sync, pytest",
        ),
        (["test", "--only=sync,wrong", "-x"], "not 'wrong'"),
        (["test", "--only"], "not ''"),
        (["test", "--cpu", "--only", "sync, ruff"], "not ' ruff'"),
        (["lab", "--no-brwser"], "lab has no option --no-brwser. Did you mean --no-browser?"),
        (["lab", "--frobnicate=1"], "It takes --cpu, --no-browser, --port N, --host H"),
        (["lab", "--port", "0", "04", "00"], "00 is a second"),
        (["sync", "--chekc"], "sync has no option --chekc. It takes --check, --execute"),
        (["sync", "--cpu"], "sync has no option --cpu"),
        (["sync", "--check", "77"], "There is no lesson 77"),
        (["html", "77"], "There is no lesson 77"),
        (["html", "gone/a.ipynb", "--out", "x.html"], "There is no lesson gone/a.ipynb"),
        (
            ["train", "ddpm-fasion"],
            "train: There is no recipe 'ddpm-fasion'; there are: ddpm-",
        ),
        (["sample", "--calls", "20", "ddpm-fasion"], "no shipped model in `20 ddpm-fasion`"),
        (["evaluate", "ddpm", "--n", "8"], "there are: ddpm-fashion"),
    ],
    ids=" ".join,
)
def test_a_slip_is_said_before_the_set_up(sealed, capsys, tmp_path, words, said):
    for name in ("notebooks/00_start_here.ipynb", "notebooks/04_diffusion.ipynb"):
        (tmp_path / name).touch()
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/ddpm-fashion.json").touch()
    assert sealed.main(words) == 1
    assert said in sentence(capsys)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train"], "the following arguments are required: name"),
        (["train", "ddpm-fashion", "--cpu"], "train has no --cpu"),
        (["train", "ddpm-fashion", "--steps", "many"], "invalid int value: 'many'"),
        (["verify", "04"], "verify has no 04"),
        (["showdown", "--jsn"], "showdown has no --jsn"),
        (["sd", "--prompt", "a cat"], "required: --weights"),
    ],
    ids=" ".join,
)
def test_what_the_library_refuses_is_refused_before_the_set_up(sealed, capsys, words, said):
    """In argparse's own words, as after it."""
    with pytest.raises(SystemExit) as stopped:
        sealed.main(words)
    assert stopped.value.code == 2 and said in capsys.readouterr().err


def test_what_can_be_right_is_let_through(course, tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "set_up", lambda *a: "python")
    monkeypatch.setattr(handover, "call", lambda *a: 0)
    monkeypatch.setattr(handover, "become", lambda *a: 0)
    monkeypatch.chdir(tmp_path)
    for name in (
        "notebooks/04_a.ipynb",
        "notebooks/text/05_b.py",
        "weights/x.json",
        "y.ipynb",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for line in (
        "test --only sync,ruff -x -k word",
        "lab 04 --no-browser -y --LabApp.news_url x --port 0 --debug --log-level 10",
        "sync --check",
        "sync --exec 04",
        "sync 05 notebooks/text/05_b.py notebooks/04_a.ipynb 04",
        "html 04 --out x.html",
        "html y.ipynb",
        "sample --calls 20 x --n 8 --its-own",
        "evaluate x --checkpoint y",
        "train gan-fashion --seconds 2",
        "verify",
        "showdown --json",
    ):
        assert course.main(line.split()) == 0, line


def test_the_flags_of_sync_are_its_own():
    sync_notebooks = pytest.importorskip("tools.sync_notebooks")
    options = sync_notebooks.command_line()._option_string_actions
    assert {*judged.SYNC_FLAGS, "--help", "-h"} == set(options)


# ---------------------------------------------------------------- ports and addresses


@pytest.mark.parametrize("port", ["-1", "65536", "abc", "8888.5", "١", "99999999999"])
@pytest.mark.parametrize("way", ["--port={}", "--ServerApp.port={}"])
def test_a_port_that_cannot_be(sealed, capsys, port, way):
    assert sealed.main(["lab", way.format(port)]) == 1
    assert "give a number from 1 to 65535" in sentence(capsys)
    assert sealed.main(["lab", *way.format(port).split("=")]) == 1
    assert "give a number from 1 to 65535" in sentence(capsys)


@pytest.mark.parametrize("host", ["999.1.1.1", "192.0.2.7", "a..b", "é" * 80])
def test_an_address_that_is_not_this_machines(sealed, capsys, monkeypatch, host):
    """192.0.2.7 is nobody's, by RFC 5737."""
    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    assert sealed.main(["lab", "--host", host]) == 1
    assert f"--host {host}: this machine has no such address" in sentence(capsys)


def lookup(host, *rest, **options):
    """A resolver that asks no network."""
    return REAL_LOOKUP(host, *rest, **{**options, "flags": socket.AI_NUMERICHOST})


REAL_LOOKUP = socket.getaddrinfo


@pytest.mark.parametrize("option", ["--port", "--host", "--ip"])
def test_an_option_without_its_value(sealed, capsys, option):
    for given in ([option], [f"{option}="]):
        assert sealed.main(["lab", *given]) == 1
        assert f"{option} wants a value" in sentence(capsys)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "0.0.0.0", "*"])
def test_addresses_that_are(course, host):
    jupyter.check_address(["--host", host, "--port", "0"])
    jupyter.check_address([f"--ip={host}", "--port=8888"])


def test_a_name_with_what_means_else_in_an_address(course, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, quoted in (
        ("05 copy #2.ipynb", "05%20copy%20%232.ipynb"),
        ("what?.ipynb", "what%3F.ipynb"),
        ("a%20b.ipynb", "a%2520b.ipynb"),
        ("é.ipynb", "%C3%A9.ipynb"),
    ):
        (tmp_path / "notebooks" / name).touch()
        found = jupyter.lab_arguments([f"notebooks/{name}"])
        assert f"--LabApp.default_url=/lab/tree/notebooks/{quoted}" in found


# ---------------------------------------------------------------- reset


@pytest.mark.parametrize("given", [[], ["99"], ["my/99"], ["04", "99"], [""]])
def test_reset_of_what_is_no_lesson(sealed, capsys, tmp_path, given):
    (tmp_path / "notebooks" / "04_diffusion.ipynb").touch()
    assert sealed.main(["reset", *given]) == 1
    assert ("no lesson" in sentence(capsys)) == bool(given)


def test_reset_is_handed_over(course, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(environment, "set_up", lambda *a: "python")
    monkeypatch.setattr(handover, "become", lambda *a: seen.append(a[2:]) or 0)
    (tmp_path / "notebooks" / "further").mkdir()
    names = ("00_start_here.ipynb", "04_diffusion.ipynb", "further/04_more.ipynb")
    for name in names:
        (tmp_path / "notebooks" / name).touch()
    mains = (["04"], ["4"], ["my/04_diffusion.ipynb"], ["./my/04"], ["my\\04_diffusion.ipynb"])
    for given in (*mains, ["further/04"], ["further/4"], ["--all"]):
        assert course.main(["reset", *given]) == 0
    assert seen == [*[names[1:2]] * len(mains), names[2:], names[2:], names]


def test_one_digit_is_no_other_lessons_beginning(sealed, capsys, tmp_path):
    """1 is lesson 01, and not 10; and what may be several is asked back."""
    folder = tmp_path / "notebooks"
    (folder / "further").mkdir()
    for name in ("10_showdown", "further/04_more", "further/05_more"):
        (folder / f"{name}.ipynb").touch()
    assert sealed.main(["reset", "1"]) == 1
    assert "There is no lesson 1" in sentence(capsys)
    for command in ("reset", "lab"):
        assert sealed.main([command, "further"]) == 1
        said = sentence(capsys)
        assert "may be any of further/04_more.ipynb, further/05_more.ipynb: say which" in said


# ---------------------------------------------------------------- places, and Ctrl+C


@pytest.mark.skipif(sys.platform != "linux", reason="places of Linux")
@pytest.mark.parametrize("place", ["/proc/x", "/proc/x/y", "/sys/x", "/dev/null/x", "n" * 300])
def test_a_place_where_nothing_can_be_made(course, pip, capsys, monkeypatch, place):
    monkeypatch.setenv("MARBLE_VENV", place)
    for command in ("lab", "verify"):
        assert course.main([command]) == 1
        assert "MARBLE_VENV" in sentence(capsys)
    assert course.main(["doctor"]) in (0, 1)


def test_a_checkout_without_its_requirements(course, pip, capsys, tmp_path):
    (tmp_path / "constraints.txt").unlink()
    assert course.main(["lab"]) == 1
    assert "`git checkout -- constraints.txt`" in sentence(capsys)


# Runs a file and sends it SIGINT so many seconds after its first line.
INTERRUPTED = """
import os, runpy, signal, sys, threading, time

def hit():
    main = threading.main_thread().ident
    while True:
        frame = sys._current_frames().get(main)
        while frame and frame.f_code.co_filename != path:
            frame = frame.f_back
        if frame:
            break
    time.sleep(after)
    os.kill(os.getpid(), signal.SIGINT)

# a job in the background inherits that it is ignored
signal.signal(signal.SIGINT, signal.default_int_handler)
after, path, sys.argv = float(sys.argv[1]), sys.argv[2], ["course.py", "lab"]
threading.Thread(target=hit, daemon=True).start()
runpy.run_path(path, run_name="__main__")
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
@pytest.mark.parametrize("after", [0.0, 0.02, 0.05, 0.1, 0.3])
def test_ctrl_c_leaves_no_trace_whenever_it_comes(tmp_path, after):
    """From the first line of the file on; before that it is Python's own start."""
    env = {**os.environ, "MARBLE_VENV": str(tmp_path / "venv"), "TMPDIR": str(tmp_path)}
    # the lock is held, so that nothing is set up however long it takes
    import fcntl

    with open(tmp_path / "venv.lock", "wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        command = [
            sys.executable,
            "-S",
            "-c",
            INTERRUPTED,
            str(after),
            str(ROOT / "course.py"),
        ]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in (130, -signal.SIGINT)
