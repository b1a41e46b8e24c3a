"""The one train step: it takes any Method and any optimiser."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from maskmim.optim.skip_spikes import last_update_skipped
from maskmim.types import (
    Array,
    Batch,
    Losses,
    Mean,
    Method,
    Randomness,
    State,
    Tree,
    Variables,
    random_key,
)

TrainStep = Callable[[State, Tree, Batch], tuple[State, dict[str, Array]]]


def initial_state(method: Method, optimiser: optax.GradientTransformation, key: Array) -> State:
    """Return the state before the first step."""
    params, extra = method.init(key)
    zero = jnp.zeros((), jnp.int32)
    return State(zero, params, extra, optimiser.init(params), zero)


def make_train_step(
    method: Method,
    optimiser: optax.GradientTransformation,
    *,
    seed: int,
    total_steps: int,
    micro_batches: int = 1,
) -> TrainStep:
    """Make the function (state, frozen, batch) -> (state, metrics); the caller jits it.

    micro_batches: split the batch into this many micro-batches; the gradient is that of the whole
    batch, as every loss term is divided by the weight of the whole batch, not of its part.
    Metrics: 'loss', each term 'loss/<name>' where there are several, the method's own, 'grad_norm',
    'bad_steps'. An update with a loss or gradient that is not finite leaves parameters, optimiser
    and extra as they were; so does one that the optimiser leaves out as a spike, which adds the
    metric 'spike' (see maskmim.optim.skip_spikes).
    """
    optimiser = optax.with_extra_args_support(optimiser)
    gradients = (
        whole_batch_gradients if micro_batches == 1 else accumulated_gradients(micro_batches)
    )

    def train_step(state: State, frozen: Tree, batch: Batch) -> tuple[State, dict[str, Array]]:
        key = jax.random.fold_in(random_key(seed), state.step)
        randomness = Randomness.of(key, jax.tree.leaves(batch)[0].shape[0])
        progress = state.step.astype(jnp.float32) / total_steps
        variables = Variables(state.params, state.extra, frozen)
        grads, losses = gradients(method, variables, batch, randomness, progress)
        metrics = step_metrics(losses)
        # optax multiplies counts, which are integers, by floats.
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            updates, opt_state = optimiser.update(
                grads, state.opt_state, state.params, value=metrics["loss"]
            )
        params = optax.apply_updates(state.params, updates)
        extra = method.refresh(variables._replace(params=params), losses.carry, progress)

        norm = optax.tree.norm(grads)
        finite = kept = jnp.isfinite(metrics["loss"]) & jnp.isfinite(norm)
        bad_steps = jnp.where(finite, 0, state.bad_steps + 1)
        metrics |= {"grad_norm": norm, "bad_steps": bad_steps}
        if (spike := last_update_skipped(opt_state)) is not None:
            kept = finite & ~spike
            metrics["spike"] = (finite & spike).astype(jnp.float32)
        params, extra = choose(kept, (params, extra), (state.params, state.extra))
        opt_state = choose(finite, opt_state, state.opt_state)
        return State(state.step + 1, params, extra, opt_state, bad_steps), metrics

    return train_step


def choose(first: Array, one: Tree, other: Tree) -> Tree:
    """Return one of two trees of the same structure, by a bool[]."""
    return jax.tree.map(lambda a, b: jnp.where(first, a, b), one, other)


def step_metrics(losses: Losses) -> dict[str, Array]:
    """Return the scalars of a step: the loss, its terms where there are several, other metrics."""
    means = {name: term.value for name, term in losses.terms.items()}
    total = sum(losses.scales[name] * mean for name, mean in means.items())
    parts = {f"loss/{name}": mean for name, mean in means.items()} if len(means) > 1 else {}
    own = {name: mean.value for name, mean in losses.metrics.items()}
    return {"loss": jnp.asarray(total, jnp.float32), **parts, **own}


def whole_batch_gradients(
    method: Method, variables: Variables, batch: Batch, randomness: Randomness, progress: Array
) -> tuple[Tree, Losses]:
    """Return gradients and losses of a batch in one pass."""

    def loss(params: Tree) -> tuple[Array, Losses]:
        losses = method.loss(variables._replace(params=params), batch, randomness, progress)
        return step_metrics(losses)["loss"], losses

    return jax.grad(loss, has_aux=True)(variables.params)


def accumulated_gradients(micro_batches: int) -> Callable[..., tuple[Tree, Losses]]:
    """Return a function as `whole_batch_gradients` that splits the batch into micro-batches.

    The weights of the whole batch are summed first; of that pass the compiler keeps only what
    weights depend on, for most methods nothing. Then each micro-batch adds its share of the
    gradient. Examples are dealt to micro-batches in turn, so that no example leaves its device.
    """

    def gradients(
        method: Method, variables: Variables, batch: Batch, randomness: Randomness, progress: Array
    ) -> tuple[Tree, Losses]:
        parts = jax.tree.map(lambda x: _deal(x, micro_batches), (dict(batch), randomness.slots))

        def part_losses(params: Tree, part: tuple[Batch, Array]) -> Losses:
            drawn = Randomness(randomness.key, part[1])
            return method.loss(variables._replace(params=params), part[0], drawn, progress)

        def count(part: tuple[Batch, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
            losses = part_losses(variables.params, part)
            return {name: term.weight for name, term in losses.terms.items()}, losses.scales

        counted, scales = jax.lax.map(count, parts)
        weights = jax.tree.map(jnp.sum, counted)
        scales = jax.tree.map(lambda x: x[0], scales)

        def share(params: Tree, part: tuple[Batch, Array]) -> tuple[Array, tuple]:
            losses = part_losses(params, part)
            whole = {name: Mean(t.total, weights[name]) for name, t in losses.terms.items()}
            sums = losses.terms, losses.metrics, losses.carry
            return step_metrics(losses._replace(terms=whole))["loss"], sums

        grad = jax.grad(share, has_aux=True)

        def add(sums: tuple, part: tuple[Batch, Array]) -> tuple[tuple, None]:
            return jax.tree.map(jnp.add, sums, grad(variables.params, part)), None

        shapes = jax.eval_shape(
            lambda p: grad(variables.params, jax.tree.map(lambda x: x[0], p)), parts
        )
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        (grads, (terms, metrics, carry)), _ = jax.lax.scan(add, zeros, parts)
        return grads, Losses(terms, scales, metrics, carry)

    return gradients


def _deal(array: Array, parts: int) -> Array:
    """[B, ...] -> [parts, B / parts, ...]: example i goes to part i mod parts."""
    dealt = array.reshape(array.shape[0] // parts, parts, *array.shape[1:])
    return jnp.moveaxis(dealt, 1, 0)
