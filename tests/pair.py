"""A tiny GAN, as a script to be killed and resumed: two phases with optimizers of their own,
dropout that draws from the global generator, and noise from one of the run's own.

python pair.py FOLDER STEPS    goes on from FOLDER/state.pt, and writes each step's losses to
FOLDER/losses.txt and the final weights to FOLDER/weights.pt
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from course_lib import Batches, Ema, Muon, Phase, load_state, save_state, train
from course_lib.training import warmup_flat_decay


class Pair:
    """A generator and a discriminator of 4x4 images, ready for train and save_state."""

    def __init__(self, seed: int = 0):
        torch.manual_seed(seed)
        self.g = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 16))
        self.d = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Flatten(),
            nn.Linear(128, 1),
        )
        self.noise = torch.Generator().manual_seed(seed)
        images = torch.randint(256, (60, 4, 4), generator=torch.Generator().manual_seed(1))
        self.batches = Batches(images.to(torch.uint8), torch.arange(60), 8, seed)
        adam = torch.optim.AdamW(self.g.parameters(), lr=3e-3)
        scale = warmup_flat_decay(warmup=3)
        self.phases = [
            Phase("d", self.d, self.d_loss, Muon(self.d, lr=1e-3), lr_scale=scale),
            Phase("g", self.g, self.g_loss, adam, Ema(self.g), scale, every=2),
        ]

    @property
    def parts(self) -> tuple:
        """What save_state and load_state take after their path (and step)."""
        return self.phases, self.batches, [self.noise]

    def fake(self, B: int) -> torch.Tensor:
        """Images [B, 1, 4, 4] of the generator's."""
        return self.g(torch.randn(B, 3, generator=self.noise)).reshape(B, 1, 4, 4).tanh()

    def d_loss(self, batch) -> dict:
        """Real ones up, made ones down."""
        x, _ = batch
        real, made = self.d(x), self.d(self.fake(len(x)).detach())
        return {"loss": F.softplus(-real).mean() + F.softplus(made).mean()}

    def g_loss(self, batch, step) -> dict:
        """Made ones up, through the discriminator; a part of it comes with the steps."""
        made = self.fake(8)
        return {"loss": F.softplus(-self.d(made)).mean() + step / 1000 * made.square().mean()}


def main(folder: Path, steps: int):
    """Train from the last saved state, and write a line after each step, to the last bit."""
    pair, state = Pair(), folder / "state.pt"
    start = load_state(state, *pair.parts, run="pair") if state.exists() else 0
    with open(folder / "losses.txt", "a") as file:
        for done in train(pair.phases, pair.batches, steps, start=start):
            losses = [
                f"{name}:{part['loss'].item().hex()}" for name, part in done.losses.items()
            ]
            file.write(f"{done.step} {' '.join(losses)} {done.lr.hex()}\n")
            file.flush()
            if done.step % 3 == 0 or done.step == steps:
                save_state(state, done.step, *pair.parts, run="pair")
    averages = pair.phases[1].ema.module.state_dict()
    torch.save([pair.d.state_dict(), pair.g.state_dict(), averages], folder / "weights.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), int(sys.argv[2]))
