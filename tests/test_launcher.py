"""The launcher's decisions, with pip and the environment's Python played by stand-ins: nothing
is installed here.
"""

import ast
import contextlib
import errno
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections import namedtuple
from importlib import metadata
from pathlib import Path, PureWindowsPath

import pytest
from launch import PINS, lay, pips
from packaging.specifiers import SpecifierSet

from tools.launcher import (
    builds,
    command_line,
    commands,
    environment,
    handover,
    installer,
    jupyter,
    packages,
    place,
)
from tools.launcher.troubles import Trouble

ROOT = Path(__file__).resolve().parents[1]
CPU = "https://download.pytorch.org/whl/cpu"


# ---------------------------------------------------------------- what it stands on


PARTS = sorted((ROOT / "tools" / "launcher").glob("*.py"))


def imported(tree):
    """The packages that a file imports, wherever in it."""
    names = {
        name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for name in node.names
    }
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in names}


def test_reads_on_an_older_python_and_needs_the_standard_library_alone():
    """course.py itself is read by old Pythons; its parts, after that, by those it admits."""
    tree = ast.parse((ROOT / "course.py").read_text(encoding="utf-8"), feature_version=(3, 8))
    at_once = ast.Module([n for n in tree.body if not isinstance(n, ast.FunctionDef)], [])
    assert imported(at_once) <= sys.stdlib_module_names
    for path in PARTS:
        tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 11))
        assert imported(tree) <= sys.stdlib_module_names | {"tools", "course_lib"}, path


def test_nothing_that_is_installed_is_needed(tmp_path):
    """The whole launcher, without any site-packages, up to where it would set something up."""
    env = {**os.environ, "MARBLE_VENV": str(tmp_path / "venv")}
    command = [sys.executable, "-S", "-I", str(ROOT / "course.py")]
    for words, code, said in (
        (["help"], 0, "python3 course.py lab"),
        (["doctor"], 0, "not made yet"),
        (["test", "--only", "wrong"], 1, "verify, ruff, format, sync, pytest, notebooks"),
    ):
        done = subprocess.run(
            command + words, env=env, cwd=tmp_path, capture_output=True, text=True
        )
        assert (done.returncode, said in done.stdout + done.stderr) == (code, True), done
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", PARTS, ids=[path.stem for path in PARTS])
def test_rooms_are_small(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 40, node.name
            assert ast.get_docstring(node) or node.name == "ask", node.name


def test_every_version_is_exact():
    for name in PINS:
        lines = [
            line.split("#")[0].strip()
            for line in (ROOT / name).read_text(encoding="utf-8").splitlines()
        ]
        wrong = [
            line
            for line in lines
            if line and not line.startswith(("-r ", "-c ")) and line.count("==") != 1
        ]
        assert not wrong, f"{name}: {wrong}"


def test_every_version_admits_the_oldest_python():
    pins = re.findall(
        r"^([\w.-]+)==(\S+)", "".join((ROOT / name).read_text() for name in PINS), re.M
    )
    assert len(pins) > 100
    for name, version in pins:
        with contextlib.suppress(metadata.PackageNotFoundError):  # another system's package
            if metadata.version(name).split("+")[0] != version:
                continue  # an environment that the launcher didn't make
            admitted = SpecifierSet(metadata.metadata(name)["Requires-Python"] or "")
            assert all(python in admitted for python in ("3.11.0", "3.12.0", "3.13.0")), (
                f"{name}: {admitted}"
            )


def test_old_python_gets_a_sentence_that_names_a_newer_one(course, monkeypatch, capsys):
    monkeypatch.setattr(course, "runs", lambda path: path == "/bin/python3.12")
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/" + name)
    said = course.unfit((3, 9, 2, "final", 0))
    assert re.match(r"This is Python 3\.9\.2, .* needs 3\.11 or later.* python3\.12", said)
    monkeypatch.setattr(course, "runs", lambda path: False)
    assert "python.org" in course.unfit((3, 10, 0))
    assert course.unfit((3, 11, 0)) == ""
    monkeypatch.setattr(course.sys, "version_info", (3, 8, 1, "final", 0))
    for words in (["lab"], ["doctor"], []):  # whatever is asked
        assert course.main(words) == 1
        assert capsys.readouterr().err.startswith("\nThis is Python 3.8.1, and the course")


def test_without_the_rest_of_the_course_it_says_so(tmp_path):
    shutil.copy(ROOT / "course.py", tmp_path)
    command = [sys.executable, str(tmp_path / "course.py"), "lab"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "`git checkout -- tools`" in done.stderr
    assert done.stderr.strip().count("\n") == 0
    (tmp_path / "tools" / "launcher").mkdir(parents=True)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "`git checkout -- course_lib`" in done.stderr


def test_paths_of_the_environment(course, tmp_path, monkeypatch):
    venv = PureWindowsPath(r"C:\course\.venv")
    assert str(place.venv_python(venv, windows=True)) == r"C:\course\.venv\Scripts\python.exe"
    assert place.venv_python(Path("/c/.venv"), windows=False) == Path("/c/.venv/bin/python")
    assert place.venv_dir() == tmp_path / ".venv"
    monkeypatch.setenv("MARBLE_VENV", str(tmp_path / "elsewhere"))
    assert place.venv_dir() == tmp_path / "elsewhere"


# ---------------------------------------------------------------- set-up


def test_second_start_installs_nothing(course, pip, tmp_path):
    assert environment.set_up("lab") == place.venv_python(tmp_path / ".venv")
    assert len(pips(pip)) == 1 and ["venv"] in pip.calls
    environment.set_up("lab")
    assert len(pips(pip)) == 1
    line = f"import os, sys; sys.path.append(os.fsdecode(b'{tmp_path}'))\n"
    assert (tmp_path / ".venv/lib/site-packages/marble_course.pth").read_text() == line


@pytest.mark.parametrize(
    "before", [None, b"{}\n", b"\xff\xfe"], ids=["none", "utf-8", "bytes"]
)
def test_a_checkout_whose_path_is_not_ascii_is_found_in_any_locale(
    course, tmp_path, monkeypatch, before
):
    """Python 3.11 on Windows reads a .pth in the locale's encoding; a C locale without UTF-8
    plays that here.
    """
    root = tmp_path / "Übung 北" / "it's"
    root.mkdir(parents=True)
    (root / "marble_is_here.py").touch()
    monkeypatch.setattr(place, "ROOT", root)
    path = tmp_path / "marble_course.pth"
    if before:
        path.write_bytes(before.replace(b"{}", str(root).encode("utf-8")))
    environment.link(tmp_path)
    written, stat = path.read_bytes(), path.stat()
    assert written.isascii() and written.count(b"\n") == 1
    code = (
        "import site, sys; site.addsitedir(sys.argv[1]); import marble_is_here; print('found')"
    )
    command = [sys.executable, "-S", "-c", code, str(tmp_path)]
    for utf8 in ("0", "1"):
        env = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": utf8}
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("found\n", "")
    environment.link(tmp_path)
    assert path.stat().st_mtime_ns == stat.st_mtime_ns  # not written again


def test_changed_requirements_are_installed(course, pip, tmp_path):
    environment.set_up("lab")
    (tmp_path / "constraints.txt").write_text("numpy==2\n")
    environment.set_up("lab")
    assert len(pips(pip)) == 2 and pip.calls.count(["venv"]) == 1


def test_tests_add_to_the_environment_and_hold_all_of_lab(course, pip, tmp_path):
    environment.set_up("lab")
    environment.set_up("test")
    assert [call[-1] for call in pips(pip)] == [
        str(tmp_path / f"requirements{end}.txt") for end in ("", "-test")
    ]
    environment.set_up("lab")
    environment.set_up("test")
    assert len(pips(pip)) == 2


def test_interrupted_install_is_taken_up_again(course, pip, tmp_path):
    pip.answer["raises"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        environment.set_up("lab")
    half = tmp_path / ".venv/lib/site-packages/half-1.0.dist-info"
    whole = tmp_path / ".venv/lib/site-packages/whole-1.0.dist-info"
    half.mkdir()
    whole.mkdir()
    (whole / "INSTALLER").write_text("pip\n")
    pip.answer["raises"] = None
    environment.set_up("lab")
    assert len(pips(pip)) == 2 and pip.calls.count(["venv"]) == 1
    assert whole.exists() and not half.exists()


def test_failed_install_leaves_no_stamp(course, pip, tmp_path):
    environment.set_up("lab")
    (tmp_path / "requirements.txt").write_text("numpy==3\n")
    pip.answer.update(log="ERROR: something odd", code=1)
    with pytest.raises(Trouble, match="something odd"):
        environment.set_up("lab")
    assert not list((tmp_path / ".venv").glob("*.stamp"))


def test_broken_environment_is_made_anew(course, pip, tmp_path, monkeypatch):
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for name in ("bin/remains", "marble-lab.stamp", "notes.txt"):
        (tmp_path / ".venv" / name).touch()
    environment.set_up("lab")  # its Python doesn't start
    assert not (tmp_path / ".venv/bin/remains").exists()
    assert (tmp_path / ".venv/notes.txt").exists()  # nothing of ours, even there
    (tmp_path / ".venv/marble-unfinished").touch()  # the making was cut off
    environment.set_up("lab")
    assert pip.calls.count(["venv"]) == 2 and len(pips(pip)) == 2


def fill(folder, *names):
    """A folder with files in it; what is in them tells whether it was touched."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{name} of mine")


def contents(folder):
    """All files below a folder, with their text."""
    return {
        path: path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".venv.lock"
    }


def linked(path, target):
    """A link, where the system lets us make one."""
    try:
        path.symlink_to(target)
    except OSError:
        pytest.skip("links need rights here")


FOREIGN = {
    "notes": ["notes.txt", "bin/tool"],
    "uv": ["pyvenv.cfg", "bin/python", "lib/python3.12/site-packages/a/__init__.py"],
    "no-cfg": ["bin/python", "lib/python3.12/site-packages/a/__init__.py"],
    "named-alike": ["marble-tmp/thesis.txt", "marble.stamp"],
}


@pytest.mark.parametrize("way", ["folder", "link", "MARBLE_VENV"])
@pytest.mark.parametrize("names", FOREIGN.values(), ids=FOREIGN)
def test_what_bears_no_stamp_of_ours_is_left_alone(
    course, pip, tmp_path, monkeypatch, capsys, names, way
):
    """Notes, an environment of another tool (whose Python may not start, or have no pip)."""
    mine = tmp_path / ".venv" if way == "folder" else tmp_path / "mine"
    fill(mine, *names)
    if way == "link":
        linked(tmp_path / ".venv", mine)
    elif way == "MARBLE_VENV":
        monkeypatch.setenv("MARBLE_VENV", str(mine))
    before = contents(tmp_path)
    for command in ("lab", "test", "sync", "verify"):
        assert course.main([command]) == 1
        said = capsys.readouterr().err.strip()
        assert "didn't make, so it is left alone. Move it away" in said and "\n" not in said
    assert course.main(["doctor"]) == 1
    assert "didn't make" in capsys.readouterr().out
    assert contents(tmp_path) == before and not pip.calls


def test_a_working_environment_of_another_tool_is_left_alone_too(course, pip, tmp_path):
    """Another project's packages would change their versions."""
    fill(tmp_path / ".venv", "pyvenv.cfg")
    (tmp_path / ".venv/lib/site-packages/half-1.dist-info").mkdir(parents=True)
    before = contents(tmp_path)
    assert environment.probe(tmp_path / ".venv/bin/python")
    with pytest.raises(Trouble, match="left alone"):
        environment.set_up("lab")
    assert contents(tmp_path) == before and not pip.calls
    assert (tmp_path / ".venv/lib/site-packages/half-1.dist-info").exists()


def test_an_environment_in_a_linked_folder_is_made_but_never_cleared(
    course, pip, tmp_path, monkeypatch
):
    """It may lie on a larger disk; what is linked to from within is not ours."""
    disk, names = tmp_path / "disk", ("bin/a", "lib/b", "marble-unfinished")
    disk.mkdir()
    linked(tmp_path / "link", disk)
    monkeypatch.setattr(environment, "make_venv", place.clear)
    place.clear(tmp_path / "link")  # nothing is there
    fill(disk, *names)
    before = contents(tmp_path)
    with pytest.raises(Trouble, match=f"a link, which is never cleared. Empty {disk}"):
        place.clear(tmp_path / "link")
    assert contents(tmp_path) == before
    fill(tmp_path / "mine", "thesis.txt")
    for name in ("lib64", "share", "other"):
        (disk / name).symlink_to(tmp_path / "mine")
    place.clear(disk)
    assert [path.name for path in sorted(disk.iterdir())] == ["marble-unfinished", "other"]
    assert (tmp_path / "mine/thesis.txt").exists()


def test_remains_are_not_swept_through_a_link(course, pip, tmp_path):
    environment.set_up("lab")
    fill(tmp_path / "mine", "half-1.dist-info/METADATA", "tmp/a")
    linked(tmp_path / ".venv/linked", tmp_path / "mine")
    linked(tmp_path / ".venv/marble-tmp", tmp_path / "mine/tmp")
    packages.sweep(tmp_path / ".venv", tmp_path / ".venv/linked")
    assert len(contents(tmp_path / "mine")) == 2


def test_a_stamp_that_is_a_link_is_no_stamp(course, tmp_path):
    fill(tmp_path / ".venv", "notes.txt")
    linked(tmp_path / ".venv/marble-made", tmp_path / ".venv/notes.txt")
    assert not place.is_own(tmp_path / ".venv")


def test_small_build_of_torch_on_request(course, pip, tmp_path, monkeypatch):
    """Its index is asked for torch alone; elsewhere than on Linux the usual build is it."""
    (tmp_path / "requirements.txt").write_text("torch==2.13.0\n")
    for platform, first in (("linux", 1), ("darwin", 0), ("win32", 0)):
        monkeypatch.setattr(sys, "platform", platform)
        pip.calls.clear()
        environment.set_up("lab", cpu=True)
        small = ["--no-deps", "torch==2.13.0+cpu", "--extra-index-url", builds.CPU_INDEX]
        assert [call[-4:] for call in pips(pip)[:first]] == [small] * first
        assert pips(pip)[first][-2:] == ["-r", str(tmp_path / "requirements.txt")]
        assert len(pips(pip)) == first + 1
        shutil.rmtree(tmp_path / ".venv")


def test_cpu_over_a_build_with_cuda_puts_the_small_build_in_its_place(
    course, pip, tmp_path, capsys
):
    (tmp_path / "requirements.txt").write_text("torch==2.13.0\n")
    environment.set_up("lab")
    lay(tmp_path, "torch", "2.13.0", cuda="13.0")
    environment.set_up("lab")
    assert len(pips(pip)) == 1
    environment.set_up("lab", cpu=True)
    assert pips(pip)[1][-3:] == ["torch==2.13.0+cpu", "--extra-index-url", builds.CPU_INDEX]
    assert pips(pip)[2][-1] == str(tmp_path / "requirements.txt")
    assert (
        f"delete {tmp_path / '.venv'}" in capsys.readouterr().out
    )  # how to be rid of CUDA's own libraries
    lay(tmp_path, "torch", "2.13.0+cpu")
    environment.set_up("lab", cpu=True)
    environment.set_up("lab")
    assert len(pips(pip)) == 3


def test_a_start_without_the_flag_keeps_the_small_build(course, pip, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    small = ["--extra-index-url", builds.CPU_INDEX]
    (tmp_path / "requirements.txt").write_text("torch==2.13.0\n")
    pip.answer["raises"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        environment.set_up("lab", cpu=True)
    pip.answer["raises"] = None
    environment.set_up("lab")  # torch isn't there yet
    assert pips(pip)[1][-2:] == small and len(pips(pip)) == 3
    (tmp_path / "constraints.txt").write_text("numpy==2\n")
    environment.set_up("lab")  # this torch will do: nothing is asked of another index
    assert pips(pip)[3][-1] == str(tmp_path / "requirements.txt")
    (tmp_path / "requirements.txt").write_text("torch==2.14.0\n")
    shutil.rmtree(tmp_path / ".venv/lib/site-packages/torch-2.13.0+cpu.dist-info")
    environment.set_up("lab")
    assert pips(pip)[4][-3:] == ["torch==2.14.0+cpu", *small]
    shutil.rmtree(tmp_path / ".venv")  # as doctor says, for CUDA
    environment.set_up("lab")
    assert CPU not in pips(pip)[6] and len(pips(pip)) == 7


def test_what_was_uninstalled_is_installed_again(course, pip, tmp_path, capsys, monkeypatch):
    (tmp_path / "requirements.txt").write_text(
        "# a comment\n-c constraints.txt\nTq.dm==1\nodd==1; x\n"
    )
    environment.set_up("lab")
    shutil.rmtree(tmp_path / ".venv/lib/site-packages/Tq.dm-1.dist-info")
    for name in ("tq_dm", "sympy"):
        lay(tmp_path, name)
    packages.write_stamps(
        tmp_path / ".venv", "lab", environment.probe("python")
    )  # as it would after that install
    environment.set_up("lab")
    assert len(pips(pip)) == 1
    shutil.rmtree(tmp_path / ".venv/lib/site-packages/tq_dm-1.dist-info")
    monkeypatch.setattr(handover, "become", lambda *a: a[1:])
    assert course.main(["doctor"]) == (
        "-m",
        "course_lib",
        "doctor",
    )  # it can say what is missing
    capsys.readouterr()
    environment.set_up("lab")
    assert len(pips(pip)) == 2 and "set up: tq-dm." in capsys.readouterr().out
    lay(tmp_path, "tq_dm")
    environment.set_up("lab")
    assert len(pips(pip)) == 2


def test_what_the_packages_need_in_turn_is_missed_too(course, pip, tmp_path):
    environment.set_up("lab")
    lay(tmp_path, "sympy")
    packages.write_stamps(tmp_path / ".venv", "lab", environment.probe("python"))
    lay(tmp_path, "sympy", "2")  # another version is the reader's own choice
    environment.set_up("lab")
    assert len(pips(pip)) == 1
    shutil.rmtree(tmp_path / ".venv/lib/site-packages/sympy-2.dist-info")
    environment.set_up("lab")
    assert len(pips(pip)) == 2


def test_without_pyvenv_cfg_an_environment_s_python_is_the_base_one(course, tmp_path):
    """pip would go there: the real Python, with and without the file."""
    venv = tmp_path / "v"
    done = subprocess.run([sys.executable, "-m", "venv", str(venv)], capture_output=True)
    assert done.returncode == 0, done.stderr
    python = place.venv_python(venv)
    assert environment.probe(python)["site"].is_dir()
    pip = [
        str(python),
        "-m",
        "pip",
        "install",
        "--dry-run",
        "--no-index",
        str(ROOT / "nothing"),
    ]
    env = {**os.environ, "PIP_REQUIRE_VIRTUALENV": "1"}
    (venv / "pyvenv.cfg").unlink()
    assert environment.probe(python) is None
    said = subprocess.run(pip, env=env, capture_output=True, text=True).stderr
    assert "virtualenv" in said  # and pip refuses it too
    assert (
        environment.probe(sys.executable if sys.prefix == sys.base_prefix else "nothing")
        is None
    )


def test_pip_is_told_to_refuse_the_base_python(course, pip):
    environment.set_up("lab")
    assert pip.envs[0]["PIP_REQUIRE_VIRTUALENV"] == "1"


def test_the_folder_of_packages_is_found_whatever_the_encoding_of_its_path(course, tmp_path):
    """The launcher may run in UTF-8 by the environment's word, which the environment's Python
    isn't told.
    """
    venv = tmp_path / "Ü"
    (venv / "bin").mkdir(parents=True)
    site = venv / "lib" / "python{}.{}".format(*sys.version_info) / "site-packages"
    (site / "pip").mkdir(parents=True)
    (site / "pip/__init__.py").touch()
    (venv / "bin/python").symlink_to(sys.executable)
    (venv / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
    code = (
        "from tools.launcher import environment; from pathlib import Path as P; import sys; "
        "print(environment.probe(P(sys.argv[1]))['site'].is_dir())"
    )
    for utf8 in ("0", "1"):
        env = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": utf8}
        command = [sys.executable, "-c", code, str(venv / "bin/python")]
        done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True)
        assert done.stdout == "True\n", done.stderr


def test_the_real_packages_are_read(course):
    site = Path(metadata.distribution("torch").locate_file(""))
    assert "torch" in packages.names(site)
    import torch

    assert packages.has_cuda(site) == bool(torch.version.cuda or torch.version.hip)


def test_lock_waits_for_its_holder_and_is_freed_by_its_death(course, tmp_path, capsys):
    path = tmp_path / ".venv.lock"
    holder = (
        "import sys; sys.path.insert(0, sys.argv[1]); from tools.launcher import place\n"
        "with place.lock(sys.argv[2]): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", holder, str(ROOT), str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdout.readline().strip() == b"held"
        with open(path, "a+b") as file:
            assert not place.try_lock(file)
        process.kill()
    with place.lock(path):
        assert "waiting" not in capsys.readouterr().out


# ---------------------------------------------------------------- one sentence and the mend
# for each trouble

LOGS = {
    "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device": "disk "
    "is full",
    "Retrying after NewConnectionError('Failed to establish a new connection: [Errno -2] "
    "Name or service not known')\n"
    "ERROR: No matching distribution found for torch==2.13.0": "no network",
    "Could not fetch URL: SSLError(SSLCertVerificationError(1, '[SSL: "
    "CERTIFICATE_VERIFY_FAILED]'))": "PIP_CERT",
    "ERROR: No matching distribution found for torch==2.13.0": "gave no torch==2.13.0 for "
    "Python",
    "The virtual environment was not created successfully because ensurepip is not "
    "available.": "python3-venv",
    "ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied: '/x'": "can't "
    "be written to",
}


@pytest.mark.parametrize("log", LOGS, ids=list(LOGS.values()))
def test_each_trouble_gets_a_sentence_and_no_traceback(course, pip, capsys, monkeypatch, log):
    monkeypatch.setattr(handover, "become", lambda *a: pytest.fail("must not start"))
    pip.answer.update(log=log + "\n", code=1)
    assert course.main(["lab"]) == 1
    said = capsys.readouterr().err.strip()
    assert LOGS[log] in said and "\n" not in said and "Traceback" not in said


def test_missing_ensurepip(course, pip, capsys, monkeypatch):
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "ensurepip" else name
    )
    assert course.main(["lab"]) == 1
    assert "sudo apt install python3-venv" in capsys.readouterr().err
    assert course.main(["doctor"]) == 1
    assert "ensurepip is missing" in capsys.readouterr().out


def test_little_room_is_said_before_anything_is_fetched(course, pip, capsys, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(9e9, 8e9, 1e9))
    assert course.main(["lab"]) == 1
    assert "Only 1.0 GB are free" in capsys.readouterr().err
    assert not pip.calls


def test_errors_of_the_disk_are_said_in_a_sentence(course, pip, capsys, monkeypatch):
    def full(*ignored):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(packages, "write_stamps", full)
    assert course.main(["lab"]) == 1
    assert capsys.readouterr().err.strip().startswith("The disk is full")
    with pytest.raises(OSError, match="odd"):
        command_line.explain(OSError(errno.EBADF, "odd"))
    assert "MARBLE_VENV" in str(
        command_line.explain(PermissionError(errno.EACCES, "no", "/course/.venv"))
    )


@pytest.mark.parametrize("place", ["file", "file/below/it", "link"])
@pytest.mark.parametrize("command", ["lab", "doctor"])
def test_an_environment_in_the_place_of_a_file(
    course, pip, capsys, tmp_path, monkeypatch, place, command
):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    monkeypatch.setenv("MARBLE_VENV", str(tmp_path / place))
    before = sorted(tmp_path.rglob("*"))
    assert course.main([command]) == 1
    shown = capsys.readouterr()
    said = shown.err.strip() if command == "lab" else shown.out
    assert (
        f"{tmp_path / place.split('/')[0]} is not a folder. Move that away, or set MARBLE_VENV"
        in said
    )
    assert command == "doctor" or "\n" not in said
    assert sorted(tmp_path.rglob("*")) == before and not pip.calls


class Gone(PureWindowsPath):
    """A path on a drive that isn't there, as Windows has them: the top is its own parent and
    doesn't exist.
    """

    def exists(self):
        assert self.anchor
        return False

    is_dir = exists


def test_a_drive_that_is_not_there(course, pip, capsys, monkeypatch):
    venv = Gone("Z:\\x\\y")
    monkeypatch.setattr(place, "venv_dir", lambda: venv)
    with pytest.raises(
        Trouble,
        match=r"can't be in Z:\\x\\y: there is no Z:\\ here.*on a disk that is here",
    ):
        environment.set_up("lab")
    assert course.main(["lab"]) == 1
    assert capsys.readouterr().err.count("\n") == 2
    assert place.free_gb(venv) == 0
    assert not commands.before_set_up(venv)[2][0]
    assert not pip.calls


def test_a_home_folder_that_is_not_known(course, capsys, monkeypatch):
    monkeypatch.setenv("MARBLE_VENV", "~nobody-of-that-name/x")
    assert course.main(["doctor"]) == 1
    assert "~nobody-of-that-name/x, a home folder that isn't known" in capsys.readouterr().err


def test_a_folder_in_the_way_of_the_lock(course, pip, capsys, tmp_path):
    (tmp_path / ".venv.lock").mkdir()
    assert course.main(["lab"]) == 1
    said = capsys.readouterr().err.strip()
    assert (
        said.startswith(f"{tmp_path / '.venv.lock'} is in the way of the set-up")
        and "\n" not in said
    )


def test_a_killed_pip_is_told_from_a_failed_one(course, pip, capsys):
    pip.answer.update(code=-9)
    assert course.main(["lab"]) == 1
    assert "memory" in capsys.readouterr().err


def test_interrupt_is_one_line(course, capsys, monkeypatch):
    def interrupted(*ignored):
        raise KeyboardInterrupt

    monkeypatch.setattr(environment, "set_up", interrupted)
    assert course.main(["lab"]) == 130
    assert capsys.readouterr().err.strip() == "Stopped. The same command takes it up again."


def test_progress_says_what_pip_is_at(course, tmp_path):
    log = tmp_path / "install.log"
    log.write_text("")
    assert installer.activity(log, tmp_path) == "starting pip"
    log.write_text(
        "Collecting numpy==2\n  Downloading https://x.org/a/torch-2.13.0-cp311.whl (196.6 "
        "MB)\n"
    )
    assert installer.activity(log, tmp_path) == "downloading torch (196.6 MB)"


def test_progress_goes_on_while_pip_is_silent(course, tmp_path):
    """It says nothing from here to its end: a minute and a half for this course's packages."""
    log, names = tmp_path / "install.log", ["mpmath", "ruamel.yaml", "torch"]
    log.write_text(f"x\nInstalling collected packages: {', '.join(names)}\n")
    said = []
    for name in ("mpmath", "ruamel_yaml", "torch"):
        said.append(installer.activity(log, tmp_path))
        (tmp_path / f"{name}-1.0.dist-info").mkdir()
    assert said == [
        "installing mpmath (1 of 3)",
        "installing ruamel-yaml (2 of 3)",
        "installing torch (3 of 3)",
    ]
    assert installer.activity(log, tmp_path) == "finishing"


# ---------------------------------------------------------------- the commands


@pytest.fixture
def started(course, monkeypatch):
    """What was handed over to, with the set-up and the checks of data left out."""
    calls = []
    monkeypatch.setattr(environment, "set_up", lambda which, cpu=False: "python")
    monkeypatch.setattr(handover, "call", lambda *a, **options: 0)
    monkeypatch.setattr(handover, "become", lambda *a: calls.append([str(x) for x in a]) or 0)
    return calls


def test_everything_else_is_passed_on(course, started):
    assert course.main(["train", "ddpm-fashion", "--steps", "3"]) == 0
    assert started == [["python", "-m", "course_lib", "train", "ddpm-fashion", "--steps", "3"]]


def test_a_slip_of_the_hand_is_not_passed_on(course, started, capsys):
    assert course.main(["labb"]) == 1
    assert "course.py lab`" in capsys.readouterr().err and not started


def test_no_command_prints_what_there_is(course, capsys):
    assert course.main([]) == 0
    assert "python3 course.py lab" in capsys.readouterr().out


def test_lab_opens_the_first_notebook_and_passes_options_on(course, started, tmp_path):
    (tmp_path / "notebooks" / "00_start_here.ipynb").touch()
    (tmp_path / "notebooks" / "04_diffusion.ipynb").touch()
    course.main(
        [
            "lab",
            "--no-browser",
            "--port",
            "0",
            "--host=0.0.0.0",
            "--host",
            "::",
            "--ServerApp.token=x",
        ]
    )
    command = started[0]
    assert command[:2] == ["python", str(tmp_path / "tools" / "lab.py")]
    assert "--LabApp.default_url=/lab/tree/my/00_start_here.ipynb" in command
    assert (
        command[-6:]
        == [
            "--no-browser",
            "--port",
            "0",
            "--ip=0.0.0.0",
            "--ip",
            "::",
            "--ServerApp.token=x",
        ][-6:]
    )
    course.main(["lab", "--no-browser", "04"])
    assert (
        "--LabApp.default_url=/lab/tree/my/04_diffusion.ipynb" in started[1]
        and "04" not in started[1]
    )


@pytest.mark.parametrize("name", ["/some/folder", "**x", "9", "[", "..", "x" * 3000])
def test_what_names_no_lesson_is_said_before_anything_is_set_up(
    course, capsys, monkeypatch, tmp_path, name
):
    monkeypatch.setattr(environment, "set_up", lambda *a: pytest.fail("must not start"))
    monkeypatch.chdir(tmp_path)
    for lesson in ("00_start_here", "04_diffusion"):
        (tmp_path / "notebooks" / f"{lesson}.ipynb").touch()
    assert course.main(["lab", "--no-browser", name]) == 1
    said = capsys.readouterr().err.strip()
    assert (
        said.startswith(f"There is no lesson {name}. ")
        and "(00, 04)" in said
        and "\n" not in said
    )


def test_a_lesson_a_path_or_an_option(course, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "04").touch()  # a lesson's name comes first
    (tmp_path / "mine").mkdir()
    for path in (
        "notebooks/00_start_here.ipynb",
        "notebooks/04_diffusion.ipynb",
        "mine/04_a.ipynb",
        "mine/b.md",
    ):
        (tmp_path / path).touch()
    for name, opened in (
        ("04", "my/04_diffusion.ipynb"),
        ("notebooks/04_diffusion.ipynb", "notebooks/04_diffusion.ipynb"),
        (str(tmp_path / "mine/04_a.ipynb"), "mine/04_a.ipynb"),
        ("mine/b.md", "mine/b.md"),
        ("mine", "mine"),
    ):
        assert jupyter.notebook_of(["--port=1", name]) == (opened, ["--port=1"])
    assert jupyter.notebook_of(["my/04"]) == ("my/04_diffusion.ipynb", [])  # to be made yet
    first = "my/00_start_here.ipynb"
    assert jupyter.notebook_of(["--port", "04"]) == (first, ["--port", "04"])
    assert jupyter.notebook_of(["--ServerApp.port", "04"])[0] == first
    for flag in ("--debug", "-y", "--no-browser", "--autoreload", "--port=1"):
        assert jupyter.notebook_of([flag, "04"]) == ("my/04_diffusion.ipynb", [flag])


def test_jupyters_options_are_known(course):
    from jupyter_server.serverapp import ServerApp
    from jupyterlab.labapp import LabApp

    valued = {*ServerApp().aliases, *LabApp().aliases} - {*LabApp().flags, "watch"}
    assert valued <= set(jupyter.VALUED)
    assert {*ServerApp().flags, *LabApp().flags} <= set(jupyter.FLAGS)
    assert not set(jupyter.VALUED) & {*ServerApp().flags, *LabApp().flags}


def test_lab_allows_root_only_for_root(course):
    assert "--allow-root" in jupyter.lab_arguments([], root_user=True)
    assert "--allow-root" not in jupyter.lab_arguments([])


def test_lab_brings_its_own_style(course):
    """Prose of about 80 characters a line; figures that don't glare in the dark theme."""
    given = dict(a.split("=", 1) for a in jupyter.lab_arguments([]) if "=" in a)
    assert given["--LabApp.custom_css"] == "True"
    (custom,) = ast.literal_eval(given["--ServerApp.tornado_settings"])["static_custom_path"]
    folder = Path(custom).relative_to(place.ROOT)
    style = (Path(__file__).parents[1] / folder / "custom.css").read_text(encoding="utf-8")
    assert "max-width: 44em" in style
    assert "brightness" in style


def test_help_names_html(course):
    assert "course.py html NAME" in course.__doc__


def test_lab_stops_at_damaged_data(course, started, capsys, monkeypatch):
    monkeypatch.setattr(handover, "call", lambda *a, **options: 1)
    assert course.main(["lab"]) == 1
    assert "git checkout -- assets weights" in capsys.readouterr().err and not started


def test_children_import_this_checkout(course, tmp_path, monkeypatch):
    assert handover.child_env()["PYTHONPATH"] == str(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "/mine")
    assert handover.child_env()["PYTHONPATH"] == str(tmp_path) + os.pathsep + "/mine"


def test_waiting_threads_sleep_soon_unless_the_caller_says_otherwise(course, monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    assert handover.child_env()["GOMP_SPINCOUNT"] == "2000"
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert handover.child_env()["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert "GOMP_SPINCOUNT" not in handover.child_env()


def test_lab_finds_lessons_for_going_further(course, tmp_path, capsys):
    (tmp_path / "notebooks" / "further").mkdir()
    for name in ("00_start_here", "04_diffusion", "further/04_more", "further/11_extra"):
        (tmp_path / "notebooks" / f"{name}.ipynb").touch()
    for name, opened in (
        ("04", "04_diffusion"),
        ("11", "further/11_extra"),
        ("further/04", "further/04_more"),
        ("further/04_more.ipynb", "further/04_more"),
        ("04_m", "further/04_more"),
    ):
        assert jupyter.notebook_of([name]) == (f"my/{opened}.ipynb", [])
    with pytest.raises(Trouble, match=r"\(00, 04, further/04, further/11\)"):
        jupyter.notebook_of(["07"])


def test_test_is_handed_over_to_the_tool(course, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(environment, "set_up", lambda *a: seen.append(a) or "python")
    monkeypatch.setattr(handover, "become", lambda *a: seen.append(a) or 3)
    assert course.main(["test", "--cpu", "--only", "ruff", "-x"]) == 3
    tool = tmp_path / "tools" / "ci.py"
    assert seen == [("test", True), ("python", tool, "--only", "ruff", "-x")]


def test_doctor_before_the_set_up_says_what_to_run(course, capsys):
    assert course.main(["doctor"]) == 0
    assert "python3 course.py lab" in capsys.readouterr().out


# ---------------------------------------------------------------- doctor, once the environment
# is there


def test_doctor_shortens_the_home_folder_and_nothing_else(monkeypatch):
    from course_lib import doctor

    def short(home: str, text: str) -> str:
        monkeypatch.setattr(doctor.Path, "home", lambda: Path(os.sep, *home.split()))
        return doctor.short(text.replace("/", os.sep)).replace(os.sep, "/")

    assert short("home al", "delete /home/al/.cache/x") == "delete ~/.cache/x"
    assert short("home al", "/home/alice/x") == "/home/alice/x"
    assert (
        short("", "/opt/venv/bin/python") == "/opt/venv/bin/python"
    )  # a container's user without a home

    def unknown():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(doctor.Path, "home", unknown)
    assert doctor.short("/opt/x") == "/opt/x"


def test_report_is_a_line_a_thing_with_a_mend_for_what_is_wrong():
    from course_lib import doctor

    lines = doctor.report()
    names = [
        "Python",
        "packages",
        "torch",
        "device",
        "bf16",
        "threads",
        "memory",
        "disk",
        "data",
        "weights",
    ]
    assert [line.name for line in lines] == names
    for line in lines:
        assert line.value and (line.ok or line.mend)
        assert str(line).count("\n") == (0 if line.ok else 1)


def test_a_look_that_fails_is_a_line_too():
    from course_lib import doctor

    def torch_build():
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    line = doctor.guarded(torch_build)
    assert (line.name, line.value, line.ok) == ("torch", "torch is not installed", False)
    assert "python3 course.py lab" in line.mend


def test_damaged_data_is_one_line_with_its_own_mend(monkeypatch):
    from course_lib import doctor
    from course_lib.data import fashion

    def damaged():
        raise fashion.DataError(
            "a.xz is not the file\n  expected: SHA-256 1\n  found:    SHA-256 2\n  mend:     "
            "git it"
        )

    monkeypatch.setattr(fashion, "verify_data", damaged)
    line = doctor.data()
    assert (
        line.value == "a.xz is not the file expected: SHA-256 1 found: SHA-256 2."
        and line.mend == "git it"
    )
    monkeypatch.setattr(doctor, "report", lambda: [line])
    assert doctor.main() == 1
    monkeypatch.setattr(
        doctor,
        "report",
        lambda: [doctor.Line("memory", "little", False, "more", essential=False)],
    )
    assert doctor.main() == 0


def test_memory_of_a_container(tmp_path):
    from course_lib import doctor

    assert doctor.container_memory(tmp_path) == (None, 0)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("5\n")
    assert doctor.container_memory(tmp_path) == (None, 0)
    (tmp_path / "memory.max").write_text("4000\n")
    assert doctor.container_memory(tmp_path) == (4000, 5)


def control_group(folder, version, most, used, stat):
    """The files of a control group's memory, as version 1 or 2 of the kernel's interface lays
    them.
    """
    names = (
        ("memory.max", "memory.current")
        if version == 2
        else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    )
    where = folder if version == 2 else folder / "memory"
    where.mkdir(exist_ok=True)
    for name, text in zip((*names, "memory.stat"), (most, used, stat), strict=True):
        (where / name).write_text(f"{text}\n")


def test_files_that_the_system_only_keeps_are_not_memory_in_use(tmp_path):
    from course_lib import doctor

    for version, stat in (
        (2, "anon 1000\nfile 2500\ninactive_file 2000\nactive_file 500"),
        (1, "cache 2500\ninactive_file 1\ntotal_rss 1000\ntotal_inactive_file 2000"),
    ):
        folder = tmp_path / str(version)
        folder.mkdir()
        control_group(folder, version, 4000, 3500, stat)
        assert doctor.container_memory(folder) == (4000, 1500)
        control_group(folder, version, 4000, 3500, "nothing that it knows")
        assert doctor.container_memory(folder) == (4000, 3500)
        control_group(
            folder, version, 4000, 1500, stat
        )  # the two files are not read in the same moment
        assert doctor.container_memory(folder) == (4000, 0)
    control_group(tmp_path, 1, 9223372036854771712, 3500, "")
    assert doctor.container_memory(tmp_path) == (None, 0)


@pytest.mark.parametrize("launched", [True, False], ids=["launcher's", "other"])
def test_mend_for_a_gpu_that_torch_cannot_use(tmp_path, monkeypatch, launched):
    """It must be something that works: the launcher changes no build by itself, and has none
    for Windows.
    """
    import torch

    from course_lib import doctor

    monkeypatch.setattr(doctor.sys, "prefix", str(tmp_path))
    monkeypatch.setattr(doctor.sys, "platform", "linux")
    if launched:
        (tmp_path / "marble-lab.stamp").touch()
    monkeypatch.setattr(torch.version, "cuda", None)
    again = f"delete {tmp_path}, then run `python3 course.py lab` without --cpu"
    assert (again in doctor.gpu_mend()) == launched
    assert (
        "pip uninstall torch" in doctor.gpu_mend()
    ) != launched  # that folder is nobody's to delete
    monkeypatch.setattr(doctor.sys, "platform", "win32")
    assert "pip uninstall torch" in doctor.gpu_mend()
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert doctor.gpu_mend().startswith("install a driver for CUDA 13.0")


def test_mend_for_other_versions(tmp_path, monkeypatch):
    from course_lib import doctor

    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: "0")
    monkeypatch.setattr(doctor.sys, "prefix", str(tmp_path))
    assert "an environment of its own" in doctor.packages().mend
    (tmp_path / "marble-lab.stamp").touch()
    assert "pip install -r requirements.txt" in doctor.packages().mend


def test_missing_weights_are_one_line_with_the_mend(tmp_path, monkeypatch):
    from course_lib import doctor, weights

    (tmp_path / weights.LIST).write_bytes((weights.WEIGHTS / weights.LIST).read_bytes())
    monkeypatch.setattr(weights, "WEIGHTS", tmp_path)
    line = doctor.weights()
    assert not line.ok and line.mend == "git checkout -- weights"
    assert "fashion-classifier.json, fashion-classifier.safetensors" in line.value
    assert "are missing" in line.value


def test_a_folder_on_a_drive_that_is_not_there():
    from course_lib import doctor

    assert doctor.existing(Gone("Z:\\x\\y")) == Gone("Z:\\")
