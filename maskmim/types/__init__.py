"""The types that every part of maskmim speaks; their shapes are the documentation.

Letters in shapes: B examples, N tokens of an example, K visible tokens, P predicted tokens, D
width, R prefix tokens (class token and registers). K, P, N and R are Python ints known when the
step is built.
"""

from maskmim.types.arrays import Array, Batch, Tree
from maskmim.types.losses import Losses, Mean
from maskmim.types.masks import Context, Mask
from maskmim.types.method import Apply, Method
from maskmim.types.nets import Encoded, LearnedFunction, Net, RunningNorms
from maskmim.types.objectives import Objective, PairObjective, View
from maskmim.types.randomness import Randomness, random_key
from maskmim.types.spec import Field, Spec
from maskmim.types.state import State, Variables
from maskmim.types.teachers import Teacher, nothing, stateless

__all__ = [
    "Apply",
    "Array",
    "Batch",
    "Context",
    "Encoded",
    "Field",
    "LearnedFunction",
    "Losses",
    "Mask",
    "Mean",
    "Method",
    "Net",
    "Objective",
    "PairObjective",
    "Randomness",
    "RunningNorms",
    "Spec",
    "State",
    "Teacher",
    "Tree",
    "Variables",
    "View",
    "nothing",
    "random_key",
    "stateless",
]
