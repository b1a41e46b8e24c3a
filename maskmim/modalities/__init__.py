"""How arrays of a stream are shown, and the untrained encoders that they are compared with."""

from maskmim.modalities.classes import class_map
from maskmim.modalities.modality import Modality, ModalityError, no_baselines
from maskmim.modalities.nothing import unseen
from maskmim.modalities.pictures import clip, image
from maskmim.modalities.sound import spectrogram

__all__ = [
    "Modality",
    "ModalityError",
    "class_map",
    "clip",
    "image",
    "no_baselines",
    "spectrogram",
    "unseen",
]
