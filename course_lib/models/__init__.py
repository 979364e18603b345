"""The networks, one readable file each."""

from course_lib.models.classifier import ClassifierConfig, FashionClassifier
from course_lib.models.unet import UNet, UNetConfig

# What a weights file may name, and the config that builds it: a table, so that no checkpoint
# carries code.
MODELS = {
    "UNet": (UNet, UNetConfig),
    "FashionClassifier": (FashionClassifier, ClassifierConfig),
}

__all__ = ["MODELS", "ClassifierConfig", "FashionClassifier", "UNet", "UNetConfig"]
