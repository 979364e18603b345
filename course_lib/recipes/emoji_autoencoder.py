"""The autoencoder whose latents `sd-emoji` diffuses: 64 x 64 x 3 numbers to 16 x 16 x 4."""

from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.data.emoji import TRAINED_ON, emoji
from course_lib.device import default_device, place
from course_lib.draws import Draws
from course_lib.metrics.frechet import Moments, frechet_distance
from course_lib.metrics.psnr import psnr
from course_lib.metrics.yardsticks import EMOJI
from course_lib.models import Autoencoder, AutoencoderConfig
from course_lib.optim import Muon
from course_lib.recipes.emoji_data import RowBatches, mirrors, moved, on_device, to_images
from course_lib.runs import Leg, Recipe, Run, Setting
from course_lib.training import Ema, Phase, warmup_flat_decay


def kl_divergence(mean: Tensor, std: Tensor) -> Tensor:
    """Of Normal(mean, std) from Normal(0, 1), in nats a latent number (Kingma & Welling 2014,
    appendix B): [].
    """
    return ((mean.square() + std.square() - 1) / 2 - std.log()).mean()


def mixed_channels(x: Tensor, draws: Draws, share: float = 0.3) -> Tensor:
    """A share of the images with their colours in another order: x [B, 3, H, W] to the
    same.
    """
    B = len(x)
    order = draws.uniform(B, 3).argsort(dim=1)  # [B, 3]
    order = torch.where(draws.uniform(B, 1) < share, order, torch.arange(3)).to(x.device)
    return x[torch.arange(B, device=x.device)[:, None], order]


@torch.no_grad()
def reconstruction_psnr(net: Autoencoder, images: Tensor, batch_size: int = 256) -> Tensor:
    """`psnr` of each reconstruction, in dB: images uint8 [N, 3, H, W] to [N]."""
    return psnr(come_back(net, images, batch_size), to_images(images))


@torch.no_grad()
def come_back(net: Autoencoder, images: Tensor, batch_size: int = 256) -> Tensor:
    """Images uint8 [N, 3, H, W] through the encoder's means and the decoder: float32 of the
    same shape, about [-1, 1].
    """
    parts = images.split(batch_size)
    return torch.cat([net.decode(net.encode(to_images(part))).float() for part in parts])


def distance(net: Autoencoder, images: Tensor) -> dict:
    """The Fréchet distance of reconstructions from all held-out pictures: images uint8
    [N, 3, 64, 64]. Its floor is what as many other real pictures score; what comes back may
    be nearer, for it is made from the very pictures that it is compared with.
    """
    crowd = Moments.of(EMOJI.features(come_back(net, images).cpu()))
    n = len(images)
    return {
        "fd": round(frechet_distance(crowd, EMOJI.reference(n)), 4),
        "fd_floor": round(EMOJI.floor(n), 4),
        "n": n,
    }


@dataclass(frozen=True, kw_only=True)
class AutoencoderRecipe(Recipe):
    """Squared and absolute error of the picture that comes back, and a small KL term."""

    absolute: float = 0.25  # weight of the absolute error: it keeps edges crisp
    kl: float = 1e-4  # weight: noise of about a hundredth of the latents' spread

    def about(self) -> dict:
        return {
            "what": "KL-regularised autoencoder of captioned emoji, 64x64x3 to 16x16x4, of "
            "Stable Diffusion's architecture; the EMA's weights.",
            **TRAINED_ON,
        }

    def loss_of(self, back: Tensor, x: Tensor, mean: Tensor, std: Tensor) -> dict:
        """The terms of a batch: {"loss", "mse", "kl"}, numbers []."""
        error = (back.float() - x).flatten(1)
        mse, kl = error.square().mean(), kl_divergence(mean.float(), std.float())
        loss = mse + self.absolute * error.abs().mean() + self.kl * kl
        return {"loss": loss, "mse": mse.detach(), "kl": kl.detach()}

    def build(self, setting: Setting) -> Run:
        net, draws, device = (
            setting.begun(Autoencoder(self.config)),
            setting.draws,
            setting.device,
        )
        forward = setting.prepare(net)
        data, pixels = on_device(device)
        flips = torch.from_numpy(mirrors(data)).to(device)

        def loss(rows: Tensor) -> dict[str, Tensor]:
            x = moved(to_images(pixels[rows]), draws, flip=flips[rows], zoom=0.1, turn=3.0)
            x = mixed_channels(x, draws)
            side = x.shape[-1] // self.config.folds
            noise = draws.normal(x.new_empty(len(x), self.config.latent, side, side))
            back, mean, std = forward(x, noise)
            net.note_latents(mean)
            return self.loss_of(back, x, mean, std)

        scale = warmup_flat_decay(flat=setting.leg.flat)
        phase = Phase(self.name, net, loss, Muon(net, lr=self.lr), Ema(net), scale)
        batches = RowBatches(data.rows("train"), self.batch_size, setting)
        return Run([phase], batches, phase.ema.module)

    def figures(self, module: Autoencoder) -> dict:
        device, data = default_device(), emoji()
        net = place(module, device)
        test, train = (
            torch.from_numpy(data.images[data.rows(split)[:1055]]).to(device)
            for split in ("test", "train")
        )
        return {
            "psnr_test": round(reconstruction_psnr(net, test).mean().item(), 3),
            "psnr_train": round(reconstruction_psnr(net, train).mean().item(), 3),
            **distance(net, test),
            "latent_mean": [round(value, 4) for value in net.latent_mean.tolist()],
            "latent_std": [round(value, 4) for value in net.latent_std.tolist()],
        }


RECIPE = AutoencoderRecipe(
    name="emoji-autoencoder",
    config=AutoencoderConfig(widths=(32, 64, 128), blocks=1, groups=8),
    batch_size=128,
    lr=2e-3,
    legs=(Leg(1_182, flat=0.3),),
)
