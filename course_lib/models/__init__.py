"""The networks, one readable file each."""

from course_lib.models.autoencoder import Autoencoder, AutoencoderConfig
from course_lib.models.classifier import ClassifierConfig, FashionClassifier
from course_lib.models.clip import CLIP, CLIPConfig, ImageConfig, TextConfig, TextTower
from course_lib.models.conv_vae import ConvVAE, VAEConfig
from course_lib.models.gan import Discriminator, GanConfig, Generator, truncate
from course_lib.models.image_classifier import ImageClassifier, ImageClassifierConfig
from course_lib.models.noisy_classifier import NoisyClassifier, NoisyClassifierConfig
from course_lib.models.pixelcnn import PixelCNN, PixelCNNConfig, mixture_log_prob
from course_lib.models.sentence_clip import SentenceCLIP, SentenceCLIPConfig
from course_lib.models.superres import SuperRes, SuperResConfig
from course_lib.models.tarflow import TarFlow, TarFlowConfig
from course_lib.models.text_unet import TextUNet, TextUNetConfig
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
    "Autoencoder": (Autoencoder, AutoencoderConfig),
    "CLIP": (CLIP, CLIPConfig),
    "ImageClassifier": (ImageClassifier, ImageClassifierConfig),
    "NoisyClassifier": (NoisyClassifier, NoisyClassifierConfig),
    "SentenceCLIP": (SentenceCLIP, SentenceCLIPConfig),
    "TextUNet": (TextUNet, TextUNetConfig),
    "SuperRes": (SuperRes, SuperResConfig),
}

__all__ = [
    "CLIP",
    "MODELS",
    "VAE",
    "Autoencoder",
    "AutoencoderConfig",
    "CLIPConfig",
    "ClassifierConfig",
    "ConvVAE",
    "Discriminator",
    "FashionClassifier",
    "GanConfig",
    "Generator",
    "ImageClassifier",
    "ImageClassifierConfig",
    "ImageConfig",
    "NoisyClassifier",
    "NoisyClassifierConfig",
    "PixelCNN",
    "PixelCNNConfig",
    "SentenceCLIP",
    "SentenceCLIPConfig",
    "SuperRes",
    "SuperResConfig",
    "TarFlow",
    "TarFlowConfig",
    "TextConfig",
    "TextTower",
    "TextUNet",
    "TextUNetConfig",
    "UNet",
    "UNetConfig",
    "VAEConfig",
    "mixture_log_prob",
    "truncate",
]
