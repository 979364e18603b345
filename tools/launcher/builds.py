"""PyTorch's two builds, with CUDA and for processors alone: which is there, which is to come,
and the install of the small one for --cpu.
"""

import contextlib
import os
import shutil
import sys
from pathlib import Path

from tools.launcher import installer, packages, sources
from tools.launcher.troubles import NotThere, Trouble, say

# PyTorch's builds for processors, without CUDA
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def torch_wanted(site: Path) -> str:
    """The full name of the small build of torch, where it must be installed; "" where a torch
    that will do is there, and where pip's usual build is the small one.
    """
    version = packages.pins("lab").get("torch", "none")
    if packages.has_cuda(site):
        return f"torch=={version}+cpu"
    here = packages.versions(site).get("torch", "").split("+")[0] == version
    return "" if here or sys.platform != "linux" else f"torch=={version}+cpu"


def small_torch(
    venv: Path, site: Path, settings: dict[str, str], held: int | None = None
) -> None:
    """Install torch's build for processors, and it alone: its index is asked for nothing else,
    and not at all where it doesn't answer.
    """
    torch = torch_wanted(site)
    if not torch:
        return
    offline = "no-index" in settings
    wrong = "" if offline else sources.silence(CPU_INDEX + "/torch/", settings)
    if wrong:
        say(f"{CPU_INDEX} {wrong}.")
    more = [] if wrong or offline else ["--extra-index-url", CPU_INDEX]
    try:
        # the usual index has no build with such a name
        if wrong and not settings.keys() & {"index-url", "extra-index-url", "find-links"}:
            raise NotThere
        installer.run_pip(venv, site, ["--no-deps", torch] + more, settings, held)
    except NotThere:
        with contextlib.suppress(FileNotFoundError):
            (venv / "marble-cpu").unlink()  # a start without --cpu may take the other build
        missing = "doesn't offer it"
        raise Trouble(
            f"{torch} can't be had: {CPU_INDEX} {wrong or missing}, and no other source has "
            "that build. Connect, then run the same command again; or leave --cpu out, and "
            "the build with CUDA is taken (about 3 GB)."
        ) from None


def say_build(venv: Path, site: Path, cpu: bool) -> None:
    """Say which build of torch is to come, where that may surprise."""
    if cpu and packages.has_cuda(site):
        say(
            "The torch here is built with CUDA. --cpu puts the small build in its place; "
            f"CUDA's own libraries stay.\nTo be rid of those as well, delete {venv} and run "
            "the same command again."
        )
        return
    asked = cpu or CPU_INDEX in " ".join(os.environ.values())
    if sys.platform == "linux" and not asked and not shutil.which("nvidia-smi"):
        say("No NVIDIA GPU is seen here: --cpu would take the small build of torch.")
