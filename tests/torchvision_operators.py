"""Make torchvision importable beside a build of torch whose operators it lacks.

timm and transformers import torchvision; its wheel on PyPI is built for CUDA and does not load
beside torch's build for CPUs. Nothing that tests call needs its compiled operators.
"""

import importlib.abc
import importlib.util
import sys
from pathlib import Path

KEPT = []


class DefineBeforeImport(importlib.abc.MetaPathFinder):
    """Define the operators that `import torchvision` looks up, where its own do not load."""

    def find_spec(self, name, path=None, target=None):
        if name != "torchvision":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and not loads(Path(spec.origin).parent):
            define()
        return None


def loads(folder: Path) -> bool:
    """Return whether the compiled operators in a folder load."""
    import torch

    try:
        for library in folder.glob("_C*.so"):
            torch.ops.load_library(library)
    except OSError:
        return False
    return True


def define() -> None:
    """Define operators of the right names and signatures, without a body."""
    from torch import library

    operators = library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    KEPT.append(operators)
