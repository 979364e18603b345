"""Rebuild assets/fashion-mnist.xz from the four .gz files of Fashion-MNIST; standard library
only.

    python3 tools/pack_fashion.py /usr/share/datasets/fashion-mnist

The folder is where Debian's package `dataset-fashion-mnist` puts the files; the originals from
github.com/zalandoresearch/fashion-mnist hold the same images. Both hashes that it prints are
constants of course_lib/data/fashion.py; where either differs it exits with 1, and the course's
own file stays as it was. The hash of the unpacked bytes depends on the data alone; that of the
packed file also on liblzma's encoder.
"""

import argparse
import ast
import gzip
import hashlib
import lzma
import os
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PARTS = (  # name, magic number, shape: the layout of the packed file, in this order
    ("train-images-idx3-ubyte.gz", 0x803, (60_000, 28, 28)),
    ("t10k-images-idx3-ubyte.gz", 0x803, (10_000, 28, 28)),
    ("train-labels-idx1-ubyte.gz", 0x801, (60_000,)),
    ("t10k-labels-idx1-ubyte.gz", 0x801, (10_000,)),
)


def read_idx(path: Path, magic: int, shape: tuple[int, ...]) -> bytes:
    """The bytes after the header of one idx file; SystemExit where the header or the length is
    not as expected.
    """
    data = gzip.decompress(path.read_bytes())
    header = struct.pack(f">I{len(shape)}I", magic, *shape)
    if not data.startswith(header):
        raise SystemExit(f"{path}: not an idx file of shape {shape}")
    body, size = data[len(header) :], 1
    for n in shape:
        size *= n
    if len(body) != size:
        raise SystemExit(f"{path}: {len(body)} bytes of data where {size} were expected")
    return body


def pack(raw: bytes) -> list[bytes]:
    """Four quarters of the bytes, each an xz stream of its own, so that a reader may unpack
    them side by side.
    """
    quarter = -(-len(raw) // 4)
    # a dictionary as long as a quarter: what `xz -9e` adds to it could only cost its reader
    # memory
    filters = [
        {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 24}
    ]
    parts = [raw[i : i + quarter] for i in range(0, len(raw), quarter)]
    with ThreadPoolExecutor(2) as pool:  # lzma gives up the interpreter's lock
        return list(
            pool.map(
                lambda part: lzma.compress(part, check=lzma.CHECK_CRC64, filters=filters),
                parts,
            )
        )


def known_hashes() -> dict[str, str]:
    """The constants of course_lib/data/fashion.py, read without importing it."""
    tree = ast.parse((ROOT / "course_lib/data/fashion.py").read_text(encoding="utf-8"))
    return {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    }


def main() -> int:
    """Pack, compare and write; 0 where both hashes match the constants."""
    parser = argparse.ArgumentParser(description="Rebuild the packed Fashion-MNIST file.")
    parser.add_argument("folder", type=Path, help="folder with the four .gz files")
    parser.add_argument(
        "--out", type=Path, help="written whatever its hash; by default the course's own file"
    )
    args = parser.parse_args()

    raw = b"".join(read_idx(args.folder / name, magic, shape) for name, magic, shape in PARTS)
    streams = pack(raw)
    packed = b"".join(streams)
    print(f"STREAMS = {tuple(len(stream) for stream in streams)}")
    known, failed = known_hashes(), 0
    for name, data in (("RAW_SHA256", raw), ("PACKED_SHA256", packed)):
        digest = hashlib.sha256(data).hexdigest()
        same = digest == known.get(name)
        print(
            f"{name} = {digest}  ({len(data):,} bytes, "
            f"{'matches' if same else 'DIFFERS FROM'} the constant)"
        )
        failed |= not same
    if args.out is not None or not failed:
        out = args.out or ROOT / "assets/fashion-mnist.xz"
        out.parent.mkdir(parents=True, exist_ok=True)
        temp = out.with_name(out.name + ".part")
        temp.write_bytes(packed)
        os.replace(temp, out)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
