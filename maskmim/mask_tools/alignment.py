"""How well a mask distribution suits perception, without training: the optimal linear autoencoder.

A linear autoencoder that sees x~ = m * x (m the mask on pixels, independent of the image x) and
rebuilds x has its optimum in closed form, and of the masks only the first two moments matter.
With S = E[x x^T] of centred pixels and o the elementwise product,

  A = E[x x~^T] = S diag(E[m])      B = E[x~ x~^T] = S o E[m m^T]

and the minimum of E|x - W^T V^T x~|^2 over encoders V f64[D, K] and decoders W f64[K, D] has as V
the solutions of A^T A v = g B v with the K largest g; each lowers the loss by its g. Alignment asks
how much of the labels lies in the first K features V^T x of clean images, relative to all pixels.

It is a hint, not a proof: the encoder is linear, the images are small, and the labels are fitted,
not predicted. Compare samplers at one mask ratio and one patch size.

On the embedded Grocery photographs (16 x 16 colour, 43 coarse classes) the paper's finding holds
weakly: hiding 4 x 4 blocks with probability 0.75 gives 1.11 times the alignment of no mask at
K = 1, 1.02 at 16 and 1.01 at 64. In grey it does not: 0.98 at K = 4 to 64. Gaussian noise changes
nothing: B has the eigenvectors of S, so features and their order are those of no noise.

Source: Balestriero and LeCun, Learning by Reconstruction Produces Uninformative Features For
Perception (arXiv 2402.11337), repository RandallBalestriero/LearningByReconstruction (alignment.py,
utils.generalized_solution).
Differences: any distribution of masks, also where some tokens are visible more often than others
(the official code has pixel blocks hidden independently with one probability); S is a mean over
images, not a sum, so losses are per image; pixels are in row, column, channel order.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.data.records import DataError
from maskmim.mask_tools.statistics import visible_map
from maskmim.types import Array, Context, Mask, Randomness

# Masks drawn in one call.
CHUNK = 512


class Moments(NamedTuple):
    """First and second moments of visibility, 1 where content is seen and 0 where it is not.

    mean: f64[n] the share of masks that show each place. second: f64[n, n] the share that show
    both of two places; its diagonal is the mean.
    """

    mean: np.ndarray
    second: np.ndarray


class Corruption(NamedTuple):
    """What the optimum depends on, f64[D, D] each.

    clean: S = E[x x^T]. cross: A = E[x x~^T]. seen: B = E[x~ x~^T].
    """

    clean: np.ndarray
    cross: np.ndarray
    seen: np.ndarray


class Optimum(NamedTuple):
    """The optimal linear autoencoder of every width at once: keep the first K features.

    encoder: f64[D, R] with E[features features^T] = 1 on corrupted images; R = D unless some pixel
             is never visible.
    decoder: f64[R, D], so that x ~ (x~ encoder[:, :K]) decoder[:K] for rows x~.
    losses:  f64[R + 1] the smallest mean squared error, summed over pixels, with 0 ... R features.
    """

    encoder: np.ndarray
    decoder: np.ndarray
    losses: np.ndarray


def second_moment(shown: np.ndarray) -> Moments:
    """Moments of visibility over masks: bool[masks, ...] -> f64[n], f64[n, n]."""
    flat = shown.reshape(len(shown), -1).astype(np.float64)
    return Moments(flat.mean(0), flat.T @ flat / len(flat))


def sampler_moments(
    sampler: Callable[..., Mask | tuple[Mask, ...]],
    grid: tuple[int, ...],
    *,
    draws: int = 4096,
    seed: int = 0,
) -> Moments:
    """Moments of a sampler's visibility on the token grid, from `draws` independent steps.

    sampler: (randomness, context) -> Mask, everything else bound, no hints; the same object again
             is not compiled again. Of several views each counts as a mask.
    Every draw is a step and a slot of its own, so that what a batch shares is sampled too. A token
    counts as visible where it enters the encoder with its content, not as mask embedding.
    """
    keys, slots = jax.random.split(jax.random.key(seed), draws), jnp.arange(draws, dtype=jnp.uint32)
    shown = []
    for start in range(0, draws, CHUNK):
        part = slice(start, start + CHUNK)
        for visible, hidden in _drawn(keys[part], slots[part], sampler=sampler, grid=grid):
            entered = visible_map(np.asarray(visible), grid).reshape(len(visible), -1)
            shown.append(entered & ~np.asarray(hidden))
    return second_moment(np.concatenate(shown))


@functools.partial(jax.jit, static_argnames=("sampler", "grid"))
def _drawn(
    keys: Array, slots: Array, *, sampler: Callable, grid: tuple[int, ...]
) -> list[tuple[Array, Array]]:
    """(visible, hidden) of each view, one example for each key."""

    def one(key: Array, slot: Array) -> list[tuple[Array, Array]]:
        found = sampler(Randomness(key, slot[None]), Context({}, {"tokens": grid}, {}))
        views = (found,) if isinstance(found, Mask) else found
        return [(view.visible[0], view.hidden[0]) for view in views]

    return jax.vmap(one)(keys, slots)


def independent_moments(tokens: int, *, hidden: float) -> Moments:
    """Moments of masks that hide each token independently with one probability, the published ones.

    Here exact counts are not kept; `uniform.random` with the same ratio differs from it by 1 / N.
    """
    second = np.full((tokens, tokens), (1 - hidden) ** 2)
    np.fill_diagonal(second, 1 - hidden)
    return Moments(np.full(tokens, 1 - hidden), second)


def on_pixels(moments: Moments, grid: tuple[int, int], *, patch: int, channels: int = 1) -> Moments:
    """Moments on the pixels of images [rows * patch, columns * patch, channels], flattened.

    All pixels and channels of a token share its mask.
    """
    tokens = np.arange(grid[0] * grid[1]).reshape(grid)
    owner = np.kron(tokens, np.ones((patch, patch), int)).repeat(channels)
    return Moments(moments.mean[owner], moments.second[np.ix_(owner, owner)])


def masked(clean: np.ndarray, moments: Moments) -> Corruption:
    """Masking with given moments on pixels, hidden pixels set to the mean of the data (0)."""
    return Corruption(clean, clean * moments.mean, clean * moments.second)


def noisy(clean: np.ndarray, *, sigma: float) -> Corruption:
    """Independent Gaussian noise of standard deviation sigma added to every pixel; 0 for none."""
    return Corruption(clean, clean, clean + sigma**2 * np.eye(len(clean)))


def optimum(corruption: Corruption) -> Optimum:
    """The optimal linear autoencoder under a corruption, in closed form.

    The generalised problem becomes an ordinary one by the Cholesky factor L of B: with U the
    eigenvectors of L^-1 A^T A L^-T, V = L^-T U, and W = V^T A^T since V^T B V = 1. Pixels that are
    never visible are left out; their rows of the encoder are 0.
    Raises numpy.linalg.LinAlgError where S is not of full rank, see `labelled`.
    """
    clean, cross, seen = corruption
    ever = np.flatnonzero(np.diag(seen) > 0)
    factor = np.linalg.cholesky(seen[np.ix_(ever, ever)])
    reduced = np.linalg.solve(factor, cross[:, ever].T)
    gains, vectors = np.linalg.eigh(reduced @ reduced.T)
    gains, vectors = gains[::-1], vectors[:, ::-1]
    encoder = np.zeros((len(clean), len(ever)))
    encoder[ever] = np.linalg.solve(factor.T, vectors)
    left = np.trace(clean) - np.concatenate([[0.0], np.cumsum(gains)])
    return Optimum(encoder, vectors.T @ reduced, left)


class Labelled(NamedTuple):
    """Images whose features are judged.

    images: f64[N, D] centred, of overall variance 1 and full rank. labels: int[N].
    clean: f64[D, D] their second moment S. whole: what all pixels capture of the labels.
    """

    images: np.ndarray
    labels: np.ndarray
    clean: np.ndarray
    whole: float


def labelled(
    pixels: np.ndarray, labels: np.ndarray, *, noise: float = 1e-3, seed: int = 0
) -> Labelled:
    """Images [N, ...] of any real type and their labels int[N], made ready.

    noise: standard deviation, relative to the data's, of Gaussian noise that gives S full rank.
    Raises DataError unless there are more images than values in an image.
    """
    flat = np.asarray(pixels, np.float64).reshape(len(pixels), -1)
    count, size = flat.shape
    if count <= size:
        raise DataError(
            f"{count} images of {size} values: more images than values are needed; make the images "
            "smaller or grey"
        )
    flat = flat + noise * flat.std() * np.random.default_rng(seed).standard_normal(flat.shape)
    flat -= flat.mean(0)
    flat /= flat.std()
    return Labelled(flat, labels, flat.T @ flat / count, float(captured(flat, labels)[-1]))


def captured(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How much of the labels lies in the first 1 ... K features: f64[N, K], int[N] -> f64[K].

    The norm of Y Y^T Q, with Y the one-hot labels and Q an orthonormal basis of the features. As in
    the official code (Xy_to_errors) Y enters twice, so that classes weigh by their size; with
    classes of one size that only scales the result.
    """
    basis = np.linalg.qr(features)[0]
    onehot = (labels[:, None] == np.unique(labels)).astype(np.float64)
    return np.sqrt(np.cumsum(onehot.sum(0) @ (onehot.T @ basis) ** 2))


def alignment(encoder: np.ndarray, data: Labelled) -> np.ndarray:
    """Alignment with the labels of the first 1 ... K features: encoder f64[D, K] -> f64[K].

    What the features of clean images capture of the labels, as a share of what all pixels capture;
    1 for K = D. Pass encoder[:, :K] of an `Optimum` where only a few are wanted: that is faster.
    """
    return captured(data.images @ encoder, data.labels) / data.whole
