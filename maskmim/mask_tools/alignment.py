"""Alignment of a mask distribution with labels, by the optimal linear autoencoder.

A linear autoencoder that sees x~ = m * x (m the mask on pixels, independent of the image x) and
reconstructs x has its optimum in closed form, which depends only on the first two moments of the
masks. With S = E[x x^T] of centred pixels and o the elementwise product,

  A = E[x x~^T] = S diag(E[m])      B = E[x~ x~^T] = S o E[m m^T]

and the minimum of E|x - W^T V^T x~|^2 over encoders V f64[D, K] and decoders W f64[K, D] has as V
the solutions of A^T A v = g B v with the K largest g; each lowers the loss by its g. Alignment is
the share of the labels that the first K features V^T x of clean images capture, relative to all
pixels.

It needs no training, and is an indication only: the encoder is linear, the images are small, and
the labels are fitted, not predicted. Compare samplers at the same mask ratio and patch size.

On the embedded Grocery photographs (16 x 16 colour, 43 coarse classes) the paper's finding holds
weakly: hiding 4 x 4 blocks with probability 0.75 gives 1.11 times the alignment of no mask at
K = 1, 1.02 at 16 and 1.01 at 64. In grey it does not hold: 0.98 at K = 4 to 64. Gaussian noise
changes nothing: B has the eigenvectors of S, so the features and their order stay the same.

Source: Balestriero and LeCun, Learning by Reconstruction Produces Uninformative Features For
Perception (arXiv 2402.11337), repository RandallBalestriero/LearningByReconstruction (alignment.py,
utils.generalized_solution).
Differences: any distribution of masks, also where some tokens are visible more often than others
(the official code hides pixel blocks independently with one probability); S is a mean over images,
not a sum, so losses are per image; pixels are in row, column, channel order.
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
from maskmim.types import Array, Context, Mask, Randomness, random_key

# Masks drawn in one call.
CHUNK = 512


class Moments(NamedTuple):
    """First and second moments of visibility, 1 where content is seen and 0 where it is not.

    mean:   f64[n] the share of masks that show each token or pixel.
    second: f64[n, n] the share that show both of two; its diagonal is the mean.
    """

    mean: np.ndarray
    second: np.ndarray


class Corruption(NamedTuple):
    """Second moments of clean images x and corrupted ones x~, f64[D, D] each.

    clean: S = E[x x^T].
    cross: A = E[x x~^T].
    seen:  B = E[x~ x~^T].
    """

    clean: np.ndarray
    cross: np.ndarray
    seen: np.ndarray


class Optimum(NamedTuple):
    """The optimal linear autoencoders of all widths K: keep the first K features.

    encoder: f64[D, R] with E[features features^T] = 1 on corrupted images; R = D unless some pixel
             is never visible.
    decoder: f64[R, D], so that x ~ (x~ encoder[:, :K]) decoder[:K] for rows x~.
    losses:  f64[R + 1] the smallest mean squared error, summed over pixels, with 0 ... R features.
    """

    encoder: np.ndarray
    decoder: np.ndarray
    losses: np.ndarray


def moments_of_maps(visible: np.ndarray) -> Moments:
    """Return the moments of visibility over masks: bool[masks, ...] -> f64[n], f64[n, n]."""
    flat = visible.reshape(len(visible), -1).astype(np.float64)
    return Moments(flat.mean(0), flat.T @ flat / len(flat))


def sampler_moments(
    sampler: Callable[..., Mask | tuple[Mask, ...]],
    grid: tuple[int, ...],
    *,
    draws: int = 4096,
    seed: int = 0,
) -> Moments:
    """Return the moments of a sampler's visibility on the token grid, from `draws` steps.

    sampler: (randomness, context) -> Mask, everything else bound, without hints; compiled once for
             each function object. Each of several views counts as a mask.
    Every draw has a different step and slot, so that randomness shared by a batch is sampled too. A
    token is visible where it enters the encoder with its content, not as mask embedding.
    """
    keys, slots = jax.random.split(random_key(seed), draws), jnp.arange(draws, dtype=jnp.uint32)
    maps = []
    for start in range(0, draws, CHUNK):
        part = slice(start, start + CHUNK)
        for visible, hidden in _draw_masks(keys[part], slots[part], sampler=sampler, grid=grid):
            entered = visible_map(np.asarray(visible), grid).reshape(len(visible), -1)
            maps.append(entered & ~np.asarray(hidden))
    return moments_of_maps(np.concatenate(maps))


@functools.partial(jax.jit, static_argnames=("sampler", "grid"))
def _draw_masks(
    keys: Array, slots: Array, *, sampler: Callable, grid: tuple[int, ...]
) -> list[tuple[Array, Array]]:
    """Return (visible, hidden) of each view, one example for each key."""

    def draw_example(key: Array, slot: Array) -> list[tuple[Array, Array]]:
        masks = sampler(Randomness(key, slot[None]), Context({}, {"tokens": grid}, {}))
        views = (masks,) if isinstance(masks, Mask) else masks
        return [(view.visible[0], view.hidden[0]) for view in views]

    return jax.vmap(draw_example)(keys, slots)


def independent_moments(tokens: int, *, hidden: float) -> Moments:
    """Return the moments of masks that hide each token independently with one probability.

    These are the published masks. Their counts vary; the moments of `uniform.random` at the same
    ratio differ from them by 1 / N.
    """
    second = np.full((tokens, tokens), (1 - hidden) ** 2)
    np.fill_diagonal(second, 1 - hidden)
    return Moments(np.full(tokens, 1 - hidden), second)


def pixel_moments(
    moments: Moments, grid: tuple[int, int], *, patch: int, channels: int = 1
) -> Moments:
    """Return moments on the pixels of images [rows * patch, columns * patch, channels], flattened.

    All pixels and channels of a token share its mask.
    """
    tokens = np.arange(grid[0] * grid[1]).reshape(grid)
    token = np.kron(tokens, np.ones((patch, patch), int)).repeat(channels)
    return Moments(moments.mean[token], moments.second[np.ix_(token, token)])


def mask_corruption(clean: np.ndarray, moments: Moments) -> Corruption:
    """Return the corruption by masks of these moments; hidden pixels are 0, the data's mean."""
    return Corruption(clean, clean * moments.mean, clean * moments.second)


def noise_corruption(clean: np.ndarray, *, sigma: float) -> Corruption:
    """Return the corruption by Gaussian noise of deviation sigma on every pixel; 0 for none."""
    return Corruption(clean, clean, clean + sigma**2 * np.eye(len(clean)))


def optimal_autoencoder(corruption: Corruption) -> Optimum:
    """Return the optimal linear autoencoder under a corruption, in closed form.

    The Cholesky factor L of B makes the generalised eigenproblem an ordinary one: with U the
    eigenvectors of L^-1 A^T A L^-T, V = L^-T U, and W = V^T A^T since V^T B V = 1. Pixels that are
    never visible are left out; their rows of the encoder are 0.
    Raises numpy.linalg.LinAlgError where S is not of full rank, see `prepare_images`.
    """
    clean, cross, seen = corruption
    pixels = np.flatnonzero(np.diag(seen) > 0)
    factor = np.linalg.cholesky(seen[np.ix_(pixels, pixels)])
    reduced = np.linalg.solve(factor, cross[:, pixels].T)
    gains, vectors = np.linalg.eigh(reduced @ reduced.T)
    gains, vectors = gains[::-1], vectors[:, ::-1]
    encoder = np.zeros((len(clean), len(pixels)))
    encoder[pixels] = np.linalg.solve(factor.T, vectors)
    losses = np.trace(clean) - np.concatenate([[0.0], np.cumsum(gains)])
    return Optimum(encoder, vectors.T @ reduced, losses)


class LabelledImages(NamedTuple):
    """Images on which features are compared.

    images: f64[N, D] centred, of overall variance 1 and full rank.
    labels: int[N].
    clean:  f64[D, D] their second moment S.
    limit:  what all pixels capture of the labels, see `captured_labels`.
    """

    images: np.ndarray
    labels: np.ndarray
    clean: np.ndarray
    limit: float


def prepare_images(
    pixels: np.ndarray, labels: np.ndarray, *, noise: float = 1e-3, seed: int = 0
) -> LabelledImages:
    """Centre and scale images [N, ...] of any real type with labels int[N].

    noise: standard deviation, relative to the data's, of Gaussian noise that gives S full rank.
    Raises DataError unless there are more images than values in an image.
    """
    flat = np.asarray(pixels, np.float64).reshape(len(pixels), -1)
    count, size = flat.shape
    if count <= size:
        raise DataError(
            f"{count} images of {size} values: alignment needs more images than values; make the "
            "images smaller or grey"
        )
    flat = flat + noise * flat.std() * np.random.default_rng(seed).standard_normal(flat.shape)
    flat -= flat.mean(0)
    flat /= flat.std()
    return LabelledImages(
        flat, labels, flat.T @ flat / count, float(captured_labels(flat, labels)[-1])
    )


def captured_labels(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return what the first 1 ... K features capture of the labels: f64[N, K], int[N] -> f64[K].

    The norm of Y Y^T Q, with Y the one-hot labels and Q an orthonormal basis of the features. As in
    the official code (Xy_to_errors) Y enters twice, so that classes weigh by their size; with
    classes of equal size that only scales the result.
    """
    basis = np.linalg.qr(features)[0]
    onehot = (labels[:, None] == np.unique(labels)).astype(np.float64)
    return np.sqrt(np.cumsum(onehot.sum(0) @ (onehot.T @ basis) ** 2))


def alignment(encoder: np.ndarray, data: LabelledImages) -> np.ndarray:
    """Return the alignment of the first 1 ... K features with the labels: f64[D, K] -> f64[K].

    What the features of clean images capture of the labels, as a share of what all pixels capture;
    1 for K = D. Pass encoder[:, :K] of an `Optimum` for the first K only, which is faster.
    """
    return captured_labels(data.images @ encoder, data.labels) / data.limit
