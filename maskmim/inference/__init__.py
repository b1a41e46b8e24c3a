"""Use of trained weights in Python: features, attention, reconstructions; see docs/python.md."""

from maskmim.inference.load import load
from maskmim.inference.loaded import InferenceError
from maskmim.inference.model import Embedded, Model
from maskmim.inference.reconstructing import Reconstruction

__all__ = ["Embedded", "InferenceError", "Model", "Reconstruction", "load"]
