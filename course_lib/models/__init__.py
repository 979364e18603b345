"""The networks, one readable file each."""

from course_lib.models.classifier import ClassifierConfig, FashionClassifier
from course_lib.models.conv_vae import ConvVAE, VAEConfig
from course_lib.models.gan import Discriminator, GanConfig, Generator, truncate
from course_lib.models.pixelcnn import PixelCNN, PixelCNNConfig, mixture_log_prob
from course_lib.models.tarflow import TarFlow, TarFlowConfig
from course_lib.models.unet import UNet, UNetConfig
from course_lib.models.vae import VAE

# What a weights file may name, and the config that builds it: a table, so that no checkpoint
# carries code.
MODELS = {
    "UNet": (UNet, UNetConfig),
    "FashionClassifier": (FashionClassifier, ClassifierConfig),
    "PixelCNN": (PixelCNN, PixelCNNConfig),
    "ConvVAE": (ConvVAE, VAEConfig),
    "Generator": (Generator, GanConfig),
    "TarFlow": (TarFlow, TarFlowConfig),
}

__all__ = [
    "MODELS",
    "VAE",
    "ClassifierConfig",
    "ConvVAE",
    "Discriminator",
    "FashionClassifier",
    "GanConfig",
    "Generator",
    "PixelCNN",
    "PixelCNNConfig",
    "TarFlow",
    "TarFlowConfig",
    "UNet",
    "UNetConfig",
    "VAEConfig",
    "mixture_log_prob",
    "truncate",
]
