"""What the launcher makes of pip's settings, of sources that don't answer, and of an install
that went elsewhere.
"""

import contextlib
import http.server
import os
import socket
import subprocess
import sys
import threading

import pytest
from launch import pips

from tools.launcher import builds, environment, packages, place, sources
from tools.launcher.troubles import Trouble

AWAY = [
    "PIP_TARGET=/elsewhere",
    "PIP_PREFIX=/elsewhere",
    "PIP_ROOT=/elsewhere",
    "PIP_USER=1",
    "PIP_DRY_RUN=1",
    "PIP_PYTHON=/usr/bin/python3",
    "PIP_NO_DEPS=1",
    "PIP_REQUIREMENT=/mine.txt",
    "PIP_QUIET=3",
    "PYTHONPATH=/elsewhere",
]
CONFIG = """global.index-url='https://mirror.org/simple'
global.extra-index-url='\\nhttps://a.org/x\\nhttps://b.org/y'
install.timeout='7'
global.timeout='9'
global.target='/elsewhere'
install.dry-run='true'
global.cert='/c.pem'
:env:.cert='/mine.pem'
freeze.user='1'
not a setting
"""


# ---------------------------------------------------------------- where packages go


@pytest.mark.parametrize("setting", AWAY)
def test_no_setting_sends_the_packages_elsewhere(course, pip, monkeypatch, setting):
    name, value = setting.split("=")
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("PIP_CERT", "/c.pem")
    environment.set_up("lab")
    assert name not in pip.envs[0]
    assert pip.envs[0]["PIP_CONFIG_FILE"] == os.devnull


def test_settings_for_where_packages_come_from_are_kept(course, pip):
    pip.answer["settings"] = CONFIG
    environment.set_up("lab")
    env = pip.envs[0]
    assert env["PIP_INDEX_URL"] == "https://mirror.org/simple"
    assert env["PIP_EXTRA_INDEX_URL"].split() == ["https://a.org/x", "https://b.org/y"]
    assert (env["PIP_TIMEOUT"], env["PIP_CERT"]) == ("7", "/mine.pem")
    assert not {"PIP_TARGET", "PIP_DRY_RUN", "PIP_USER"} & set(env)


def test_the_real_pip_is_read_and_told(course, tmp_path, monkeypatch):
    """Its own word on what it goes by, with settings in a file and in the environment."""
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\ntarget = /elsewhere\nquiet = 2\nfind-links = /w1\n  /w2\n"
        "[install]\ndry-run = yes\nretries = 3\n"
    )
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setenv("PIP_PREFIX", "/elsewhere")
    monkeypatch.setenv("PIP_PROXY", "http://proxy:1")
    settings = sources.pip_settings(sys.executable)
    assert settings["find-links"].split() == ["/w1", "/w2"]
    assert (settings["retries"], settings["proxy"]) == ("3", "http://proxy:1")
    command = [sys.executable, "-m", "pip", "config", "list"]
    env = sources.pip_env(settings)
    listed = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert "find-links" in listed.stdout and "global" not in listed.stdout
    assert not [word for word in ("elsewhere", "dry-run", "quiet") if word in listed.stdout]


def test_settings_that_pip_cannot_read(course, tmp_path, monkeypatch):
    (tmp_path / "pip.conf").write_text("no section\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    with pytest.raises(Trouble, match="pip's settings can't be read.*Mend or remove"):
        sources.pip_settings(sys.executable)


@pytest.mark.parametrize("before", [False, True], ids=["first", "stamped"])
def test_an_install_that_went_elsewhere_is_not_stamped(course, pip, capsys, tmp_path, before):
    """pip ended well, but nothing is there; an environment that was stamped so heals."""
    (tmp_path / "requirements.txt").write_text("torch==2.13.0\nnumpy==2\n")
    pip.answer["installs"] = False
    assert course.main(["lab"]) == 1
    said = capsys.readouterr().err.strip()
    assert "2 of 2 packages are not in" in said and "torch, numpy" in said
    assert "\n" not in said and not list((tmp_path / ".venv").glob("*.stamp"))
    if before:
        packages.write_stamps(tmp_path / ".venv", "lab", environment.probe("python"))
    pip.answer["installs"] = True
    environment.set_up("lab")
    assert len(pips(pip)) == 2


def test_an_old_version_that_stayed_is_not_stamped(course, pip, tmp_path):
    (tmp_path / "requirements.txt").write_text("numpy==2\n")
    environment.set_up("lab")
    (tmp_path / "requirements.txt").write_text("numpy==3\n")
    pip.answer["installs"] = False
    with pytest.raises(Trouble, match="1 of 1 packages are not in"):
        environment.set_up("lab")


# ---------------------------------------------------------------- sources that don't answer


@contextlib.contextmanager
def server(code):
    """The address of a server that answers with this code; with None it accepts and is
    silent.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(code)
            self.end_headers()

        def log_message(self, *ignored):
            pass

    asked = []
    if code is None:
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.1", 0))
            deaf.listen()
            yield f"http://127.0.0.1:{deaf.getsockname()[1]}", asked
        return
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()
        thread.join()


def closed_port():
    """An address where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize("code", [200, 301, 401, 403, 404])
def test_a_source_that_answers_is_no_silence(course, code):
    with server(code) as (url, asked):
        me = url.replace("//", "//me:secret@")
        assert sources.silence(me + "/simple/torch/", {}) == ""
        assert asked[0] == "/simple/torch/"


@pytest.mark.parametrize("code", [500, 503])
def test_a_source_that_fails_is_as_good_as_silent(course, code):
    with server(code) as (url, _):
        assert sources.silence(url, {}) == f"answers with HTTP error {code}"


def test_silence_is_found_out_in_seconds(course):
    assert "doesn't answer (Connection refused)" == sources.silence(closed_port(), {})
    with server(None) as (url, _):
        code, wrong = sources.answer(url, {}, seconds=0.2)
        assert code == 0 and "timed out" in wrong
    assert "doesn't answer" in sources.silence("http://no-such-host.invalid/", {})


def test_a_proxy_of_pips_is_gone_through(course):
    with server(200) as (url, asked):
        assert sources.silence("http://index.invalid/simple/", {"proxy": url}) == ""
        assert asked == ["http://index.invalid/simple/"]


@pytest.fixture
def silent(course, pip, monkeypatch):
    """The addresses that don't answer; all others do. `.asked` are those that were asked."""
    asked = []

    class Silent(set):
        pass

    def answer(url, settings, seconds=8):
        asked.append(url)
        gone = any(url.startswith(start) for start in silent)
        return (0, "doesn't answer (timed out)") if gone else (200, "")

    silent = Silent()
    silent.asked = asked
    monkeypatch.setattr(sources, "answer", answer)
    return silent


def test_a_dead_source_is_left_out_and_named_once(course, pip, silent, capsys):
    """Each costs its time-out for each of 131 packages."""
    silent |= {"https://me:pw@dead.org", "https://dead.org", "https://gone.org"}
    pip.answer["settings"] = (
        "global.extra-index-url='https://me:pw@dead.org/simple https://good.org/simple'\n"
        "global.find-links='https://gone.org/w /wheels'\n"
    )
    environment.set_up("lab")
    env, said = pip.envs[0], capsys.readouterr().out
    assert env["PIP_EXTRA_INDEX_URL"] == "https://good.org/simple"
    assert env["PIP_FIND_LINKS"] == "/wheels" and "PIP_INDEX_URL" not in env
    assert said.count("going on without it") == 2 and "pw" not in said


@pytest.mark.parametrize(
    ("settings", "env"),
    [
        (
            "global.extra-index-url='https://good.org/s file:///disk'\n",
            {"PIP_INDEX_URL": "https://good.org/s", "PIP_EXTRA_INDEX_URL": "file:///disk"},
        ),
        ("global.find-links='/w'\n", {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/w"}),
    ],
    ids=["extra", "links"],
)
def test_a_dead_main_index_gives_way_to_what_answers(course, pip, silent, settings, env):
    silent.add("https://pypi.org")
    pip.answer["settings"] = settings
    environment.set_up("lab")
    given = pip.envs[0]
    found = {name: given.get(name) for name in env}
    assert found == env and ("PIP_INDEX_URL" in given) == ("PIP_INDEX_URL" in env)


def test_one_source_is_pips_to_ask(course, pip, silent):
    silent.add("https://")
    environment.set_up("lab")
    pip.answer["settings"] = "global.no-index='1'\nglobal.find-links='/w'\n"
    (place.ROOT / "constraints.txt").write_text("numpy==2\n")
    environment.set_up("lab")
    assert not silent.asked and pip.envs[1]["PIP_NO_INDEX"] == "1"


def test_an_index_that_fails_or_refuses_is_named(course, pip, monkeypatch, capsys):
    """To pip both look like an index without the package."""
    log = "ERROR: No matching distribution found for torch==2.13.0\n"
    pip.answer.update(log=log, code=1)
    for code, says in ((503, "HTTP error 503"), (403, "HTTP error 403"), (0, "refused")):
        wrong = "doesn't answer (refused)" if not code else f"answers with HTTP error {code}"
        monkeypatch.setattr(sources, "answer", lambda *a, c=code, w=wrong: (c, w))
        assert course.main(["lab"]) == 1
        said = capsys.readouterr().err.strip()
        assert says in said and "64-bit" not in said and "https://pypi.org/simple" in said
    monkeypatch.setattr(sources, "answer", lambda *a: (404, "answers with HTTP error 404"))
    assert course.main(["lab"]) == 1
    assert "64-bit" in capsys.readouterr().err


# ---------------------------------------------------------------- --cpu without its index


@pytest.fixture
def wants_torch(course, silent, tmp_path, monkeypatch):
    """A checkout that asks for torch, on Linux, with the processor builds out of reach."""
    monkeypatch.setattr(sys, "platform", "linux")
    (tmp_path / "requirements.txt").write_text("torch==2.13.0\n")
    silent.add(builds.CPU_INDEX)


def test_cpu_goes_on_with_another_source_of_that_build(course, pip, wants_torch, capsys):
    pip.answer["settings"] = "global.find-links='/wheels'\n"
    environment.set_up("lab", cpu=True)
    assert [call[-2:] for call in pips(pip)][0] == ["--no-deps", "torch==2.13.0+cpu"]
    assert not [call for call in pips(pip) if builds.CPU_INDEX in call]
    assert "whl/cpu doesn't answer (timed out)." in capsys.readouterr().out
    environment.set_up("lab")
    assert len(pips(pip)) == 2


@pytest.mark.parametrize("elsewhere", [False, True], ids=["pypi", "links"])
def test_cpu_out_of_reach_is_said_with_the_choice_and_not_remembered(
    course, pip, wants_torch, capsys, tmp_path, elsewhere
):
    if elsewhere:
        pip.answer["settings"] = "global.find-links='/wheels'\n"
    log = "ERROR: No matching distribution found for torch==2.13.0+cpu\n"
    pip.answer.update(log=log, code=1)
    assert course.main(["lab", "--cpu"]) == 1
    said = capsys.readouterr().err.strip()
    assert "torch==2.13.0+cpu can't be had" in said and "leave --cpu out" in said
    assert "\n" not in said and len(pips(pip)) == int(elsewhere)
    pip.answer.update(log="", code=0)
    environment.set_up("lab")
    assert pips(pip)[-1][-2:] == ["-r", str(tmp_path / "requirements.txt")]
    assert len(pips(pip)) == int(elsewhere) + 1


def test_cpu_with_no_index_asks_nobody(course, pip, wants_torch, silent):
    pip.answer["settings"] = "global.no-index='yes'\nglobal.find-links='/wheels'\n"
    environment.set_up("lab", cpu=True)
    assert not silent.asked and len(pips(pip)) == 2
