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


def nodes(tree: ast.AST):
    """All of a tree but what is there for readers of types alone, `if TYPE_CHECKING:`."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        test = getattr(child, "test", None)
        if not (isinstance(child, ast.If) and getattr(test, "id", "") == "TYPE_CHECKING"):
            yield from nodes(child)


def imports(name: str) -> set[str]:
    """The modules that a module of the library imports anywhere in its text, those within
    functions among them.
    """
    found, package = (
        set(),
        name if SOURCES[name].name == "__init__.py" else name.rpartition(".")[0],
    )
    for node in nodes(ast.parse(SOURCES[name].read_text(encoding="utf-8"))):
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
    assert "course_lib.weights" in imports("course_lib.metrics.yardsticks")  # in a function
    assert "course_lib.metrics.measure" not in imports("course_lib.recipe")  # for types alone
    assert "course_lib.data.fashion" in reached("course_lib.recipes.ddpm_fashion")
    assert len(CORE) >= 11


@pytest.mark.parametrize("name", CORE)
def test_models_and_diffusion_import_neither_plots_nor_data(name):
    for module, importer in reached(name).items():
        assert not below(module, *FORBIDDEN), f"{importer} imports {module}"


# The rooms from the ground up: a module imports from its own floor and from those below.
FLOORS = (
    ("errors", "files", "cards", "meta", "draws", "progress", "eight_bits"),
    ("device", "text", "layers", "optim", "configs"),
    ("models", "diffusion", "checkpoint", "training", "adversarial", "toy_games"),
    ("weights",),
    ("interop",),
    ("data",),
    ("metrics",),
    ("recipe", "legs", "run_log", "runs"),
    ("recipes",),
    ("anchors",),
    ("showdown",),
    ("exercises", "doctor"),
    ("widgets",),
    ("pictures",),
    ("__main__",),
)
FLOOR_OF = {f"course_lib.{room}": k for k, rooms in enumerate(FLOORS) for room in rooms}


def room(name: str) -> str:
    """course_lib.metrics of course_lib.metrics.frechet."""
    return ".".join(name.split(".")[:2])


@pytest.mark.parametrize("name", [name for name in SOURCES if name != "course_lib"])
def test_no_arrow_runs_upwards(name):
    """Wherever in the text an import stands. So metrics know no recipe, nor does interop; runs
    know no family; and nothing imports the widgets, which are at the top.
    """
    assert room(name) in FLOOR_OF, f"say in FLOORS where {room(name)} stands"
    for module in imports(name):
        if module in SOURCES and module != "course_lib":
            up = FLOOR_OF[room(module)] - FLOOR_OF[room(name)]
            assert up <= 0, f"{name} imports {module}, {up} floors above it"


def test_neighbours_that_know_nothing_of_each_other():
    for room, other in (
        ("models", "diffusion"),
        ("models", "training"),
        ("models", "checkpoint"),
        ("diffusion", "models"),
        ("diffusion", "training"),
        ("exercises", "doctor"),
    ):
        for name in SOURCES:
            if below(name, f"course_lib.{room}"):
                wrong = [m for m in imports(name) if below(m, f"course_lib.{other}")]
                assert not wrong, f"{name} imports {wrong}"


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


# ---- sizes

MOST_LINES, MOST_OF_A_MODEL, MOST_OF_A_FUNCTION = 400, 240, 40
LONG_BY_NATURE = ("__init__", "_parser")  # a net's parts, and a table of flags


@pytest.mark.parametrize("name", SOURCES)
def test_rooms_are_small(name):
    """No file is longer than a reader takes in, and no function than a page."""
    text = SOURCES[name].read_text(encoding="utf-8")
    most = MOST_OF_A_MODEL if below(name, "course_lib.models") else MOST_LINES
    assert len(text.splitlines()) <= most
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.name not in LONG_BY_NATURE:
            lines = node.end_lineno - node.lineno + 1
            assert lines <= MOST_OF_A_FUNCTION, f"{name}.{node.name} has {lines} lines"


# ---- cost

TIMER = """
import sys, time
for what in sys.argv[1:]:
    start = time.perf_counter()
    exec(what)
    print(time.perf_counter() - start)
"""


def seconds(*imports: str) -> list[float]:
    """How long each import takes, one after the other in one process."""
    done = subprocess.run(
        [sys.executable, "-c", TIMER, *imports],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [float(line) for line in done.stdout.split()]


def test_imports_are_light_beside_torch_s():
    """Ratios, the least of five: no machine is promised seconds, and others use it too."""
    core = (
        "from course_lib import Schedule, Denoiser, UNet, train, sample_ddim, guided, "
        "Muon, load_weights"
    )
    tries = []
    while len(tries) < 5:
        package, torch, rest = seconds("import course_lib", "import torch, torch.optim", core)
        tries.append((package / torch, rest / torch))
        best = [min(column) for column in zip(*tries, strict=True)]
        if best[0] < 0.05 and best[1] < 0.2:  # measured: 0.0004 to 0.006, and 0.013 to 0.07
            return
    raise AssertionError(f"package and core beside torch: {tries}")


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
LatentCodec Phase Ema train save_weights load_weights load_denoiser measure frechet_distance default_device precision""".split()


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
