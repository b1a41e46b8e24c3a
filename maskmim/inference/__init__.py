"""Use of trained weights in Python: features, classes, attention, reconstructions."""

from maskmim.inference.classifying import Classified
from maskmim.inference.load import load
from maskmim.inference.loaded import InferenceError
from maskmim.inference.model import Embedded, Model
from maskmim.inference.reconstructing import Reconstruction

__all__ = ["Classified", "Embedded", "InferenceError", "Model", "Reconstruction", "load"]
