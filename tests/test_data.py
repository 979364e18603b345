"""The data: what is in it, what happens when it is damaged, and that batches depend on (seed,
k) alone.
"""

import gzip
import hashlib
import lzma
import os
import shutil
import struct
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from course_lib import data
from course_lib.data import (
    Batches,
    DataError,
    as_saved,
    assets,
    fashion,
    fashion_batches,
    fashion_mnist,
    to_float,
    to_uint8,
    verify_data,
)
from course_lib.data.assets import Asset
from course_lib.errors import CourseError

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache of the tests' own, filled by the first test that loads."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache, monkeypatch):
    monkeypatch.setenv("MARBLE_CACHE", str(cache))
    yield
    assets._raw_bytes.cache_clear()


def damaged(tmp_path, monkeypatch, change):
    """Point the loader at a changed copy of the packed file and return its path."""
    path = tmp_path / "fashion-mnist.xz"
    path.write_bytes(change(fashion.FASHION.file.read_bytes()))
    monkeypatch.setattr(assets, "ASSETS", tmp_path)
    return path


def flip_middle(packed):
    middle = len(packed) // 2
    return packed[:middle] + bytes([packed[middle] ^ 1]) + packed[middle + 1 :]


# ---- what is in it


def test_hash_constant_is_that_of_the_asset():
    assert (
        hashlib.sha256(fashion.FASHION.file.read_bytes()).hexdigest() == fashion.PACKED_SHA256
    )
    readme = (ROOT / "assets" / "README.md").read_text(encoding="utf-8")
    assert fashion.PACKED_SHA256 in readme
    assert fashion.RAW_SHA256 in readme


# counts taken from the source's own label files
TRAIN_COUNTS = [5479, 5503, 5510, 5492, 5473, 5497, 5533, 5550, 5485, 5478]


@pytest.mark.parametrize(
    ("split", "size"), [("train", 55_000), ("valid", 5_000), ("test", 10_000)]
)
def test_splits(split, size):
    images, labels = fashion_mnist(split)
    assert isinstance(images, np.memmap)
    assert images.shape == (size, 28, 28)
    assert labels.shape == (size,)
    assert images.dtype == labels.dtype == np.uint8
    assert not images.flags.writeable
    per_class = {
        "train": TRAIN_COUNTS,
        "valid": [6000 - n for n in TRAIN_COUNTS],
        "test": [1000] * 10,
    }
    assert np.bincount(labels, minlength=10).tolist() == per_class[split]
    assert len(data.CLASSES) == 10


def test_first_labels_and_means_are_those_of_the_source():
    assert fashion_mnist("train")[1][:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    assert fashion_mnist("test")[1][:10].tolist() == [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]
    both = np.concatenate([fashion_mnist("train")[0], fashion_mnist("valid")[0]])
    assert (
        abs(both.mean() / 255 - 0.2860) < 1e-4
    )  # the mean that is usually quoted for the 60,000


def test_unknown_split():
    with pytest.raises(ValueError, match="train, valid, test"):
        fashion_mnist("dev")


# ---- damage


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda packed: packed[: len(packed) // 2], "13,193,026 bytes"),
        (lambda packed: b"", "0 bytes"),
        (flip_middle, "26,386,052 bytes"),
        (
            lambda packed: (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
            ),
            "git lfs pull",
        ),
    ],
    ids=["truncated", "empty", "altered", "pointer"],
)
def test_damaged_file_names_file_hashes_and_mend(tmp_path, monkeypatch, change, says):
    fashion_mnist("test")  # a good cache does not hide the damage
    path = damaged(tmp_path, monkeypatch, change)
    for load in (lambda: fashion_mnist("test"), verify_data):
        with pytest.raises(DataError) as caught:
            load()
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        for part in (
            str(path),
            fashion.PACKED_SHA256,
            found,
            "git checkout -- assets/fashion-mnist.xz",
            says,
        ):
            assert part in str(caught.value)
        assert caught.value.__cause__ is None


def test_missing_file(tmp_path, monkeypatch):
    monkeypatch.setattr(assets, "ASSETS", tmp_path / "gone")
    with pytest.raises(
        DataError, match="fashion-mnist.xz(.|\n)*no such file(.|\n)*git checkout"
    ):
        fashion_mnist("train")


def test_bytes_that_do_not_unpack(tmp_path, monkeypatch):
    path = damaged(tmp_path, monkeypatch, lambda packed: b"not xz at all")
    hashed = hashlib.sha256(b"not xz at all").hexdigest()
    monkeypatch.setattr(fashion, "FASHION", replace(fashion.FASHION, packed_sha256=hashed))
    monkeypatch.setenv("MARBLE_CACHE", str(tmp_path / "empty"))
    with pytest.raises(DataError, match="does not unpack") as caught:
        fashion_mnist("train")
    assert str(path) in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "change", [lambda raw: raw[:-1], flip_middle], ids=["truncated", "altered"]
)
def test_damaged_cache_is_noticed_and_rebuilt(cache, change):
    fashion_mnist("test")
    file = fashion.FASHION.cache_file()
    good = file.read_bytes()
    assets._raw_bytes.cache_clear()  # as in a new process
    file.unlink()  # a new file: the old one may still be mapped
    file.write_bytes(change(good))
    assert "altered" in verify_data().cache
    fashion_mnist("test")
    assert file.read_bytes() == good
    assert "good" in verify_data().cache
    assert [path.name for path in cache.iterdir()] == [file.name]


# ---- folders


def test_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MARBLE_CACHE", str(tmp_path / "file" / "below"))
    with pytest.warns(UserWarning, match="stays in memory") as caught:
        images, labels = fashion_mnist("test")
        fashion_mnist("train")
    assert len(caught) == 1
    assert "\n" not in str(caught[0].message)
    assert caught[0].filename == __file__
    assert not images.flags.writeable
    monkeypatch.undo()
    assets._raw_bytes.cache_clear()
    assert np.array_equal(images, fashion_mnist("test")[0])
    assert np.array_equal(labels, fashion_mnist("test")[1])


@pytest.mark.parametrize(
    ("platform", "variable", "below"),
    [
        ("linux", "XDG_CACHE_HOME", ""),
        ("win32", "LOCALAPPDATA", ""),
        ("darwin", "HOME", "Library/Caches"),
    ],
)
def test_cache_folder_of_each_system(tmp_path, monkeypatch, platform, variable, below):
    monkeypatch.delenv("MARBLE_CACHE")
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv(variable, str(tmp_path))
    assert assets.cache_folder() == tmp_path / below / "marble"


def test_a_cache_in_the_home_of_nobody(monkeypatch):
    monkeypatch.setenv("MARBLE_CACHE", "~nobody-of-that-name/c")
    with pytest.raises(CourseError, match="MARBLE_CACHE names ~nobody.*Write it out"):
        assets.cache_folder()


def test_relative_xdg_folder_is_ignored(monkeypatch, tmp_path):
    monkeypatch.delenv("MARBLE_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    assert assets.cache_folder() == tmp_path / ".cache" / "marble"


def test_old_parts_are_swept_and_fresh_ones_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("MARBLE_CACHE", str(tmp_path))
    name = fashion.FASHION.cache_file().name
    old, fresh = tmp_path / f"{name}.a.part", tmp_path / f"{name}.b.part"
    old.touch()
    fresh.touch()
    os.utime(old, (time.time() - 7200,) * 2)
    assets.sweep(fashion.FASHION.cache_file())
    assert not old.exists()
    assert fresh.exists()


LOAD = (  # the loader alone, so that a process starts without torch
    "import sys; sys.path.insert(0, sys.argv[1]); from course_lib.data import fashion; "
    "images, labels = fashion.fashion_mnist('test'); assert 'torch' not in sys.modules;"
    "print(int(images.sum()), type(images).__name__)"
)


def start_loader(folder, cache):
    environ = {
        **os.environ,
        "MARBLE_CACHE": str(cache),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-W", "error", "-c", LOAD, str(folder)]
    return subprocess.Popen(
        command,
        cwd=cache.parent,  # not the checkout's own folder
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_four_processes_at_once_on_an_empty_cache(tmp_path):
    expected = f"{int(fashion_mnist('test')[0].sum())} memmap\n"
    loaders = [start_loader(ROOT, tmp_path) for _ in range(4)]
    results = [(*loader.communicate(), loader.returncode) for loader in loaders]
    assert results == [(expected, "", 0)] * 4
    assert [path.name for path in tmp_path.iterdir()] == [fashion.FASHION.cache_file().name]
    assert (
        next(tmp_path.iterdir()).stat().st_mode & 0o444 == 0o444
    )  # a shared cache serves all users


def test_read_only_checkout_is_read_and_left_alone(tmp_path, cache):
    expected = f"{int(fashion_mnist('test')[0].sum())} memmap\n"
    checkout = tmp_path / "checkout"
    (checkout / "course_lib").mkdir(parents=True)
    shutil.copytree(ROOT / "course_lib" / "data", checkout / "course_lib" / "data")
    for name in ("__init__.py", "errors.py", "files.py"):
        shutil.copy(ROOT / "course_lib" / name, checkout / "course_lib")
    (checkout / "assets").mkdir()
    shutil.copy(fashion.FASHION.file, checkout / "assets")
    paths = [checkout, *checkout.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {
        path: path.stat().st_mtime_ns for path in paths
    }  # a superuser could write all the same
    try:
        loader = start_loader(checkout, tmp_path / "cache")
        assert (*loader.communicate(), loader.returncode) == (expected, "", 0)
        assert {
            path: path.stat().st_mtime_ns for path in (checkout, *checkout.rglob("*"))
        } == before
    finally:
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)


# ---- bytes and floats


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_every_byte_survives_the_round_trip(kind):
    images = kind(
        np.arange(256 * 28 * 28, dtype=np.int64).astype(np.uint8).reshape(-1, 28, 28)
    )
    x = to_float(images)
    assert x.shape == (256, 1, 28, 28)
    assert x.dtype == torch.float32
    assert (x.min(), x.max()) == (-1, 1)
    back = to_uint8(x)
    assert back.dtype == torch.uint8
    assert np.array_equal(back.numpy(), np.asarray(images))
    assert torch.equal(to_uint8(x.double()), back)


def test_to_uint8_rounds_clamps_and_refuses():
    x = torch.tensor([-9.0, -1, -1 + 0.9 / 255, -1 + 1.1 / 255, 0.999, 1, 9]).reshape(
        7, 1, 1, 1
    )
    assert to_uint8(x).flatten().tolist() == [0, 0, 0, 1, 255, 255, 255]
    for shape in [(2, 2, 28, 28), (2, 4, 8, 8), (28, 28)]:
        with pytest.raises(CourseError, match="one channel or three"):
            to_uint8(torch.zeros(shape))
    for bad in (float("nan"), float("inf"), float("-inf")):
        with pytest.raises(CourseError, match="not finite"):
            to_uint8(torch.tensor([0.0, bad]).reshape(2, 1, 1, 1))
    with pytest.raises(TypeError, match="uint8"):
        to_uint8(torch.zeros(2, 1, 28, 28, dtype=torch.uint8))
    with pytest.raises(TypeError, match="uint8"):
        to_float(torch.zeros(2, 28, 28))
    assert to_float(np.zeros((28, 28), np.uint8)).shape == (1, 28, 28)


# which bytes are images, and what they become: shape, channels -> shape
READ = [
    ((5, 7), None, (1, 5, 7)),
    ((2, 5, 7), None, (2, 1, 5, 7)),
    ((3, 5, 7), None, (3, 1, 5, 7)),  # three grey images
    ((1, 5, 7), None, (1, 1, 5, 7)),
    ((2, 3, 5, 7), None, (2, 3, 5, 7)),
    ((2, 1, 5, 7), None, (2, 1, 5, 7)),
    ((0, 5, 7), None, (0, 1, 5, 7)),
    ((3, 5, 7), 3, (3, 5, 7)),  # one image in colour
    ((4, 2, 3, 5, 7), 3, (4, 2, 3, 5, 7)),
    ((2, 3, 5, 7), 1, (2, 3, 1, 5, 7)),  # a table of grey ones
    ((4, 2, 5, 7), 1, (4, 2, 1, 5, 7)),
]


@pytest.mark.parametrize(("shape", "channels", "becomes"), READ)
def test_the_axes_say_what_bytes_are(shape, channels, becomes):
    images = torch.randint(256, shape, dtype=torch.uint8)
    x = to_float(images, channels)
    assert x.shape == becomes
    assert torch.equal(x.flatten(), images.flatten().float() / 127.5 - 1)
    assert torch.equal(to_uint8(x).flatten(), images.flatten())
    if (becomes[-3] == 3 or len(shape) < 4) or channels == 1:
        assert to_uint8(x).shape == shape  # the inverse


@pytest.mark.parametrize(
    ("shape", "channels", "says"),
    [
        ((7,), None, "are no images"),
        ((2, 64, 64, 3), None, "colour before rows and columns"),
        ((2, 4, 8, 8), None, "C of 1 or 3"),
        ((2, 2, 3, 8, 8), None, "Say what .* are"),
        ((5, 7), 3, "are no images"),
        ((2, 1, 5, 7), 3, "are no images"),
        ((2, 3, 5, 7), 4, "channels is 1"),
        ((2, 3, 5, 7), 0, "channels is 1"),
    ],
)
def test_bytes_that_are_no_images(shape, channels, says):
    with pytest.raises(CourseError, match=says):
        to_float(torch.zeros(shape, dtype=torch.uint8), channels)


# ---- batches


def toy(batch_size=4, seed=0, n=22, **kwargs):
    """Batches whose images carry their own index in the first pixel, and whose labels are the
    same index.
    """
    images = torch.zeros(n, 28, 28, dtype=torch.uint8)
    images[:, 0, 0] = torch.arange(n)
    return Batches(images, np.arange(n, dtype=np.uint8), batch_size, seed, **kwargs)


def labels_of(batches, count):
    return [next(batches)[1].tolist() for _ in range(count)]


def test_images_and_labels_stay_together():
    x, labels = next(toy())
    assert x.shape == (4, 1, 28, 28)
    assert x.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert torch.equal(to_uint8(x)[:, 0, 0].long(), labels)


def test_an_epoch_gives_each_image_at_most_once():
    epochs = [
        labels_of(batches, 5) for batches in [toy()] for _ in range(3)
    ]  # 22 images: 5 batches, 2 dropped
    for epoch in epochs:
        assert len(set(sum(epoch, []))) == 20
    assert epochs[0] != epochs[1] != epochs[2]


def test_batch_k_is_a_function_of_seed_and_k():
    first = labels_of(toy(), 12)
    assert labels_of(toy(), 12) == first
    for k in (11, 0, 6, 5):  # in any order, across epochs
        batches = toy()
        batches.step = k
        assert next(batches)[1].tolist() == first[k]
    torch.manual_seed(1)
    np.random.seed(1)
    assert labels_of(toy(), 12) == first
    others = [labels_of(toy(seed=seed), 12) for seed in range(1, 4)]
    assert first not in others
    assert first[5:10] not in [
        other[:5] for other in others
    ]  # the next epoch is not the next seed


def test_resume():
    batches = toy()
    labels_of(batches, 7)
    state = batches.state_dict()
    assert state == {"step": 7, "batch_size": 4, "seed": 0, "images": 22}
    going_on = labels_of(batches, 7)
    resumed = toy()
    resumed.load_state_dict(state)
    assert labels_of(resumed, 7) == going_on


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"batch_size": 8}, "batch_size 4.*these have batch_size 8"),
        ({"seed": 1}, "seed 0.*these have.*seed 1"),
        ({"n": 23}, "images 22.*these have.*images 23"),
    ],
)
def test_batches_that_are_not_the_saved_runs_are_refused(other, says):
    """50 images seen at a batch of 10 would be 100 at a batch of 20."""
    batches = toy()
    labels_of(batches, 5)
    with pytest.raises(CourseError, match=says):
        toy(**other).load_state_dict(batches.state_dict())
    with pytest.raises(CourseError, match="batch_size None"):
        toy().load_state_dict({"step": 5})


def test_a_run_goes_on_with_another_number_of_processes():
    batches = toy()
    labels_of(batches, 7)
    shards = [toy(shard=(rank, 2)) for rank in range(2)]
    for shard in shards:
        shard.load_state_dict(batches.state_dict())
    assert sum((next(shard)[1].tolist() for shard in shards), []) == next(batches)[1].tolist()


@pytest.mark.parametrize("world", [1, 2, 4])
def test_shards_make_up_the_global_batch(world):
    shards = [toy(shard=(rank, world)) for rank in range(world)]
    for expected in labels_of(toy(), 12):
        assert sum((next(shard)[1].tolist() for shard in shards), []) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"batch_size": 23},
        {"shard": (2, 2)},
        {"shard": (-1, 2)},
        {"shard": (0, 3)},
    ],
    ids=str,
)
def test_sizes_that_do_not_fit(wrong):
    with pytest.raises(ValueError, match="batch_size|shard"):
        toy(**wrong)
    with pytest.raises(ValueError, match="labels"):
        Batches(np.zeros((3, 28, 28), np.uint8), np.zeros(2, np.uint8), 1, 0)


@pytest.mark.parametrize("C", [1, 3])
def test_batches_of_four_axes(C):
    images = torch.randint(256, (9, C, 8, 6), dtype=torch.uint8)
    batches = Batches(images, torch.arange(9), 3, 0)
    x, labels = next(batches)
    assert x.shape == (3, C, 8, 6)
    assert torch.equal(x, to_float(images[labels]))


def test_batches_of_three_grey_images_are_not_one_in_colour():
    images = torch.randint(256, (9, 8, 6), dtype=torch.uint8)
    x, labels = next(Batches(images, torch.arange(9), 3, 0))
    assert torch.equal(x, to_float(images[labels]))
    assert x.shape == (3, 1, 8, 6)


def test_a_condition_may_be_a_tuple_of_tensors():
    """Tokens, a style and a nested mask go with their images, in their own dtypes."""
    images = torch.zeros(20, 3, 8, 8, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(20)
    tokens = np.arange(20, dtype=np.int32)[:, None].repeat(5, 1)
    style, mask = torch.arange(20).float() / 7, torch.arange(20) % 2 == 0
    batches = Batches(images, (tokens, (style, mask)), 4, 0)
    for _ in range(7):
        x, (words, (kind, hidden)) = next(batches)
        number = to_uint8(x)[:, 0, 0, 0].long()
        assert torch.equal(words, number[:, None].expand(4, 5))
        assert torch.equal(kind, style[number])
        assert torch.equal(hidden, mask[number])
        assert (words.dtype, kind.dtype, hidden.dtype) == (
            torch.int64,
            torch.float32,
            torch.bool,
        )
    with pytest.raises(CourseError, match="20 images but 19 labels"):
        Batches(images, (tokens, style[:19]), 4, 0)


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(9, 8, 8),
        torch.zeros(9, 2, 8, 8, dtype=torch.uint8),
        torch.zeros(9, 8, 8, 3, dtype=torch.uint8),
        torch.zeros(9, 64, dtype=torch.uint8),
    ],
    ids=["floats", "two channels", "colour last", "flat"],
)
def test_batches_of_what_are_no_images(images):
    with pytest.raises(CourseError, match="C of 1 or 3"):
        Batches(images, torch.zeros(9), 3, 0)


# ---- another data set's file


@pytest.mark.parametrize("count", [1, 3])
def test_any_packed_file_is_an_asset(tmp_path, monkeypatch, count):
    raw = bytes(range(256)) * 9
    cuts = [len(raw) * i // count for i in range(count + 1)]
    packed = [lzma.compress(raw[a:b]) for a, b in zip(cuts, cuts[1:], strict=False)]
    (tmp_path / "toys.xz").write_bytes(b"".join(packed))
    monkeypatch.setattr(assets, "ASSETS", tmp_path)
    monkeypatch.setenv("MARBLE_CACHE", str(tmp_path / "cache"))
    hashes = [hashlib.sha256(part).hexdigest() for part in (b"".join(packed), raw)]
    toys = Asset("toys", "Toys", *hashes, len(raw), tuple(map(len, packed)))
    assert "not unpacked yet" in toys.verify().cache
    assert isinstance(toys.raw(), np.memmap)
    assert toys.raw().tobytes() == raw
    assert "good" in toys.verify().cache
    (tmp_path / "toys.xz").write_bytes(b"other")
    with pytest.raises(DataError, match="git checkout -- assets/toys.xz"):
        toys.raw()
    assert toys.cache_file() != fashion.FASHION.cache_file()


@pytest.mark.filterwarnings("error")
def test_fashion_batches():
    batches = fashion_batches(128, seed=0)
    assert batches.images.dtype == torch.uint8
    assert batches.batches_per_epoch == 429
    x, labels = next(batches)
    images, all_labels = fashion_mnist("train")
    rows = batches.rows(0)
    assert np.array_equal(to_uint8(x).numpy(), images[rows.numpy()])
    assert labels.tolist() == all_labels[rows.numpy()].tolist()
    assert len(fashion_batches(10, 0, "valid", shard=(1, 2)).images) == 5_000


def test_data_does_not_import_matplotlib():
    code = "import sys, course_lib.data; print('matplotlib' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout == "False\n"


@pytest.mark.skipif(
    not Path("/usr/share/datasets/fashion-mnist").is_dir(),
    reason="needs Debian's data package",
)
def test_unpacked_bytes_are_those_of_the_source():
    sys.path.insert(0, str(ROOT / "tools"))
    import pack_fashion

    folder = Path("/usr/share/datasets/fashion-mnist")
    raw = b"".join(
        pack_fashion.read_idx(folder / name, magic, shape)
        for name, magic, shape in pack_fashion.PARTS
    )
    assert hashlib.sha256(raw).hexdigest() == fashion.RAW_SHA256
    assert pack_fashion.known_hashes()["PACKED_SHA256"] == fashion.PACKED_SHA256


def test_a_source_that_differs_leaves_the_packed_file_alone(tmp_path, monkeypatch, capsys):
    sys.path.insert(0, str(ROOT / "tools"))
    import pack_fashion

    part = ("train-labels-idx1-ubyte.gz", 0x801, (4,))
    (tmp_path / part[0]).write_bytes(gzip.compress(struct.pack(">II", 0x801, 4) + b"abcd"))
    monkeypatch.setattr(pack_fashion, "PARTS", (part,))
    monkeypatch.setattr(pack_fashion, "ROOT", tmp_path)
    monkeypatch.setattr(pack_fashion, "known_hashes", dict)
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets/fashion-mnist.xz").write_bytes(b"the course's own")
    monkeypatch.setattr(sys, "argv", ["pack_fashion.py", str(tmp_path)])
    assert pack_fashion.main() == 1 and "DIFFERS" in capsys.readouterr().out
    assert (tmp_path / "assets/fashion-mnist.xz").read_bytes() == b"the course's own"
    monkeypatch.setattr(
        sys, "argv", ["pack_fashion.py", str(tmp_path), "--out", str(tmp_path / "x.xz")]
    )
    assert pack_fashion.main() == 1
    assert lzma.decompress((tmp_path / "x.xz").read_bytes()) == b"abcd"


def test_as_saved_is_what_comes_back_from_a_file():
    x = 1.3 * torch.randn(5, 3, 4, 4)
    torch.testing.assert_close(as_saved(x), to_float(to_uint8(x)), rtol=0, atol=0)
    half = as_saved(x.to(torch.bfloat16))
    torch.testing.assert_close(half, as_saved(x.to(torch.bfloat16).float()), rtol=0, atol=0)
