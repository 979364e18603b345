"""Who may import whom, what an import costs, and that every public name is there and
documented.
"""

import ast
import importlib
import inspect
import subprocess
import sys
import types
from pathlib import Path

import pytest

import course_lib

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ROOT / "course_lib"


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for path in sorted(LIBRARY.rglob("*.py"))}


def imports(name: str) -> set[str]:
    """The modules that a module of the library imports anywhere in its text, those within
    functions among them.
    """
    found, package = (
        set(),
        name if SOURCES[name].name == "__init__.py" else name.rpartition(".")[0],
    )
    for node in ast.walk(ast.parse(SOURCES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = (
                package.split(".")[: len(package.split(".")) - node.level + 1]
                if node.level
                else []
            )
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return found


def reached(start: str) -> dict[str, str]:
    """Every module, within the library or outside, that importing `start` leads to: name ->
    who imports it.
    """
    found, waiting = {start: "the test"}, [start]
    while waiting:
        name = waiting.pop()
        # a package's own file runs before its modules; the library's top loads nothing before
        # it is asked for
        parents = {name.rpartition(".")[0]} - {"", "course_lib"}
        for other in (imports(name) if name in SOURCES else set()) | (
            parents if name in SOURCES else set()
        ):
            if other not in found:
                found[other] = name
                waiting.append(other)
    return found


def below(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


CORE = [
    name
    for name in SOURCES
    if below(name, "course_lib.models", "course_lib.diffusion", "course_lib.layers")
]
FORBIDDEN = (
    "matplotlib",
    "ipywidgets",
    "anywidget",
    "IPython",
    "PIL",
    "course_lib.data",
    "course_lib.widgets",
)


def test_the_reader_of_imports_sees_them():
    assert "torch" in imports("course_lib.layers")
    assert "course_lib.layers" in imports("course_lib.models.unet")
    assert "course_lib.weights" in imports("course_lib.metrics.fashion")  # within a function
    assert "course_lib.data.fashion" in reached("course_lib.recipes.ddpm_fashion")
    assert len(CORE) >= 11


@pytest.mark.parametrize("name", CORE)
def test_models_and_diffusion_import_neither_plots_nor_data(name):
    for module, importer in reached(name).items():
        assert not below(module, *FORBIDDEN), f"{importer} imports {module}"


def test_nothing_imports_the_widgets():
    """They are at the top: only the notebooks and the command line may use them."""
    for name in SOURCES:
        if name in ("course_lib.__main__", "course_lib") or below(name, "course_lib.widgets"):
            continue
        assert not any(below(module, "course_lib.widgets") for module in imports(name)), name


def test_only_the_device_module_picks_a_device():
    """torch.cuda and torch.backends.mps are asked in device.py; doctor, which reports, may
    name the GPU.
    """
    for name, path in SOURCES.items():
        if name in ("course_lib.device", "course_lib.doctor"):
            continue
        text = path.read_text(encoding="utf-8")
        for asked in (
            "cuda.is_available",
            "mps.is_available",
            "is_bf16_supported",
            '"cuda"',
            "'cuda'",
        ):
            assert asked not in text, f"{path} has {asked}"


def test_no_star_imports():
    for folder in ("course_lib", "tests", "tools", "benchmarks", "notebooks/text"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom):
                    assert all(alias.name != "*" for alias in node.names), (
                        f"{path} has a star import"
                    )


# ---- cost

TIMER = "import time; start = time.perf_counter(); {what}; print(time.perf_counter() - start)"


def assert_quick(setup: str, what: str, limit: float = 0.2):
    """`what` takes at most `limit` seconds after `setup`, in the best of five processes:
    others use the machine too.
    """
    code, times = f"{setup}; {TIMER.format(what=what)}", []
    while len(times) < 5 and min(times, default=1e9) > limit:
        run = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        times.append(float(run.stdout))
    assert min(times) <= limit, f"seconds: {times}"


def test_import_is_light():
    assert_quick("import sys", "import course_lib")


def test_the_core_is_light_once_torch_is_there():
    what = (
        "from course_lib import Schedule, Denoiser, UNet, train, sample_ddim, guided, "
        "Muon, load_weights"
    )
    assert_quick("import torch, torch.optim", what)


def test_import_loads_nothing_heavy():
    code = (
        "import sys, course_lib; heavy = ('torch', 'numpy', 'matplotlib', 'ipywidgets', "
        "'PIL');"
        "assert not [name for name in heavy if name in sys.modules], 'course_lib';"
        "import course_lib.models, course_lib.diffusion, course_lib.training, "
        "course_lib.weights;"
        "heavy = ('matplotlib', 'ipywidgets', 'anywidget', 'IPython', 'accelerate', "
        "'course_lib.data');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == "[]\n", done.stderr


# ---- the public names

CONTRACT = """Schedule TARGETS Denoiser guided sample_ddpm sample_ddim sample_heun sample_dpmpp_2m Step Codec PixelCodec
LatentCodec Phase Ema train save_weights load_weights frechet_distance default_device precision""".split()


def test_the_contract_is_there():
    assert set(CONTRACT) <= set(course_lib.__all__)


@pytest.mark.parametrize("name", course_lib.__all__)
def test_every_public_name_resolves_and_says_what_it_is(name):
    value = getattr(course_lib, name)
    if callable(value):
        assert value.__doc__, f"{name} has no docstring"
    assert name in dir(course_lib)


def test_star_free_names_and_a_helpful_error():
    assert course_lib.__all__ == sorted(set(course_lib.__all__))
    with pytest.raises(
        AttributeError,
        match="course_lib has no 'sample_dimm'; its public names are .*sample_ddim",
    ):
        _ = course_lib.sample_dimm


def public(owner: object, home: str) -> dict[str, object]:
    """The functions, classes and properties that a module or class defines itself, by name."""
    kinds = (type, types.FunctionType, classmethod, staticmethod, property)
    return {
        name: value
        for name, value in vars(owner).items()
        if not name.startswith("_")
        and isinstance(value, kinds)
        and getattr(value, "__module__", home) == home
    }


@pytest.mark.parametrize("name", SOURCES)
def test_every_definition_has_a_docstring(name):
    """But for methods that override another's, as a network's forward does: those are
    described there.
    """
    if name != "course_lib.__main__":
        module = importlib.import_module(name)
        assert module.__doc__, f"{name} has no docstring"
        for key, value in public(module, name).items():
            assert inspect.getdoc(value), f"{name}.{key} has no docstring"
            for method in public(value, name) if isinstance(value, type) else ():
                overrides = any(method in vars(base) for base in value.__mro__[1:])
                assert overrides or inspect.getdoc(getattr(value, method)), (
                    f"{name}.{key}.{method} has no docstring"
                )
