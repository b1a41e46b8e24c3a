"""Frozen tokenizers: teachers that give every token of the whole example a code."""

from __future__ import annotations

from functools import cache

import jax

from maskmim.checkpoints.load_run import TrainedRun, load_trained
from maskmim.config.ranges import PositiveInt
from maskmim.errors import UserError
from maskmim.types import Array, Context, Mask, Net, Teacher, Tree, Variables, stateless


class TokenizerError(UserError, ValueError):
    """A run that is not a tokenizer, or a tokenizer of another size or grid."""


def of_run(*, workdir: str, size: PositiveInt = 8192) -> Teacher:
    """Return a teacher that gives the codes of a tokenizer trained with maskmim.

    workdir: of that run; its newest checkpoint is read once, when training starts.
    size:    of its codebook, which is the width of the head that predicts the codes.
    Gives 'codes' i32[B, N]. The tokenizer normalises the batch's pictures itself.
    Raises TokenizerError where the run's method gives no codes, or its size or grid differs.
    """

    @cache
    def run() -> TrainedRun:
        tokenizer = load_trained(workdir)
        if not {"codes", "codebook"} <= tokenizer.method.apply.keys():
            raise TokenizerError(
                f"the run {workdir} is not a tokenizer: {tokenizer.config.method} gives no codes; "
                "name the run of one such as configs/vq_kd.py"
            )
        codes = jax.eval_shape(tokenizer.method.apply["codebook"], tokenizer.variables).shape[0]
        if codes != size:
            raise TokenizerError(
                f"the tokenizer {workdir} has {codes} codes, not {size}: change the teacher's size "
                "and the width of the model's head"
            )
        return tokenizer

    def freeze() -> Tree:
        params, extra, _ = run().variables
        return {"params": params, "extra": extra}

    def find(
        net: Net, extra: Tree, frozen: Tree, context: Context, mask: Mask | None
    ) -> dict[str, Array]:
        variables = Variables(frozen["params"], frozen["extra"], ())
        codes = run().method.apply["codes"](variables, context.batch)
        if codes.shape[1] != context.length:
            raise TokenizerError(
                f"the tokenizer {workdir} cuts a picture into {codes.shape[1]} tokens, the model "
                f"into {context.length}: give both the same grid"
            )
        return {"codes": codes}

    return stateless(("codes",), False, find, freeze=freeze, classes={"codes": size})
