"""Frozen tokenizers, which give every token of the whole example a code."""

from __future__ import annotations

from functools import cache

import jax

from maskmim.checkpoints.load_run import Trained, trained
from maskmim.errors import UserError
from maskmim.types import Array, Context, Mask, Net, Teacher, Tree, Variables


class TokenizerError(UserError, ValueError):
    """A run that is no tokenizer, or one whose codes are not those that are expected."""


def of_run(*, workdir: str, size: int = 8192) -> Teacher:
    """The codes of a tokenizer that was trained here.

    workdir: of its training, whose newest checkpoint is read once, when training starts.
    size:    of its codebook, which is the width of the head that predicts the codes.
    Gives 'codes' i32[B, N]. The tokenizer normalises the batch's pictures in its own way.
    Raises TokenizerError for a run whose method gives no codes, for another size, and for tokens
    that are not those of the model.
    """

    @cache
    def run() -> Trained:
        found = trained(workdir)
        if not {"codes", "codebook"} <= found.method.apply.keys():
            raise TokenizerError(
                f"the run {workdir} is no tokenizer: {found.config.method} gives no codes"
            )
        codes = jax.eval_shape(found.method.apply["codebook"], found.variables).shape[0]
        if codes != size:
            raise TokenizerError(
                f"the tokenizer {workdir} has {codes} codes, {size} are expected: change the "
                "teacher's size and the width of the model's head"
            )
        return found

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

    return Teacher(("codes",), False, _nothing, find, _unchanged, freeze)


def _nothing(key: Array, net: Net, params: Tree) -> Tree:
    return ()


def _unchanged(extra: Tree, params: Tree, carry: Tree, progress: Array) -> Tree:
    return extra
