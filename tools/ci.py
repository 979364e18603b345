"""Everything that CI runs, phase by phase, with the table of their seconds at the end:
`python3 course.py test`.

The launcher starts it in the environment that it has set up. What it doesn't know goes to
pytest. A phase that fails stops no other.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PHASES = ("verify", "ruff", "format", "sync", "pytest", "notebooks")
# the first that is here is driven, by the tests and by tools/readme_picture.py
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Only what hangs is given up: a slow laptop that does other things takes ten times as long.
CELL_SECONDS, KERNEL_SECONDS = 1800, 600


def browser_path() -> str | None:
    """The browser that the tests drive; None where none is here."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def in_ci() -> bool:
    """Whether this runs where nothing may be left out."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def lessons(root: Path = ROOT) -> list[str]:
    """The lessons' notebooks, those for going further last, relative to the checkout."""
    folders = (root / "notebooks", root / "notebooks" / "further")
    found = [path for folder in folders for path in sorted(folder.glob("*.ipynb"))]
    return [path.relative_to(root).as_posix() for path in found]


def commands(extra: list[str], notebooks: list[str], browser: bool) -> dict[str, list[str]]:
    """What each phase runs, as arguments to this Python; nothing where there is nothing."""
    nbval = ["-m", "pytest", "--nbval-lax", "--nbval-current-env", "--durations=5"]
    nbval += [f"--nbval-cell-timeout={CELL_SECONDS}"]
    nbval += [f"--nbval-kernel-startup-timeout={KERNEL_SECONDS}"]
    without = [] if browser else ["-m", "not browser"]
    return {
        "verify": ["-m", "course_lib", "verify"],
        "ruff": ["-m", "ruff", "check", "."],
        "format": ["-m", "ruff", "format", "--check", "."],
        "sync": ["tools/sync_notebooks.py", "--check"],
        "pytest": ["-m", "pytest", "--durations=5", *without, *extra],
        "notebooks": [*nbval, *notebooks] if notebooks else [],
    }


def chosen(given: str | None) -> list[str]:
    """The phases that --only names, in their order; all without it. ValueError for others."""
    names = PHASES if given is None else given.split(",")
    if wrong := [name for name in names if name not in PHASES]:
        raise ValueError(
            f"--only takes some of {', '.join(PHASES)}, with commas between, not {wrong[0]!r}."
        )
    return [name for name in PHASES if name in names]


def asked(arguments: list[str] | None) -> tuple[list[str], list[str]]:
    """The phases that a command line asks for, and what of it goes to pytest. ValueError for a
    phase that isn't there: course.py asks here before it sets anything up.
    """
    parser = argparse.ArgumentParser(
        prog="python3 course.py test",
        description="Run everything that CI runs; what isn't known here goes to pytest.",
        allow_abbrev=False,
    )
    named = f"some of {', '.join(PHASES)}"
    # without a value, none is named, and `chosen` says so
    parser.add_argument("--only", metavar="NAME,NAME", nargs="?", const="", help=named)
    options, extra = parser.parse_known_args(arguments)
    return chosen(options.only), extra


def run(arguments: list[str]) -> int:
    """Run this Python at the top of the checkout, whose library it imports, and return its
    exit code.
    """
    paths = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.call([sys.executable, *arguments], cwd=ROOT, env=env)


def main(arguments: list[str] | None = None) -> int:
    """Run the phases and print the table; 1 if one of them failed."""
    try:
        phases, extra = asked(arguments)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    browser = "pytest" not in phases or browser_path() is not None
    mend = "On Debian: `sudo apt install chromium`."
    if not browser and in_ci():
        print(f"CI needs Chromium for the browser's tests. {mend}", file=sys.stderr)
        return 1
    if not browser:
        print(f"Chromium isn't here, so the browser's tests are left out. {mend}", flush=True)
    todo, rows = commands(extra, lessons(), browser), []
    for name in phases:
        print(f"\n=== {name}", flush=True)
        start = time.monotonic()
        if not todo[name]:
            print("There are no notebooks yet.", flush=True)
        code = run(todo[name]) if todo[name] else 0
        rows.append((name, time.monotonic() - start, f"FAILED ({code})" if code else "ok"))
    print("\nphase       seconds  result")
    for name, seconds, result in rows:
        print(f"{name:<10}{seconds:>9.1f}  {result}")
    return int(any(result != "ok" for _, _, result in rows))


if __name__ == "__main__":
    sys.exit(main())
