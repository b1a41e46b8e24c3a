"""Draw docs/images/colour_masks.png and docs/images/spectra.png with the samplers themselves.

python -m docs.make_mask_figures
"""

from __future__ import annotations

from pathlib import Path

import jax
import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from maskmim.mask_tools.spectrum import spectrum
from maskmim.mask_tools.statistics import mean_component_size, visible_map
from maskmim.masks import colour
from maskmim.masks.gaussian import filtered_noise, standardise
from maskmim.types import Context, Randomness, random_key

IMAGES = Path(__file__).parent / "images"
GRID = (14, 14)
RATIO = 0.75
MEASURED = 2000
SHOWN = 5
INK = {
    "red": "#c8342f",
    "green": "#2e8b45",
    "white": "#767676",
    "purple": "#7b3fa0",
    "blue": "#2563c0",
}


def masks_of(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the first noise field f32[h, w] and the maps bool[MEASURED, h, w] of a colour."""
    randomness = Randomness.of(random_key(0), MEASURED)
    sampler = getattr(colour, name)
    context = Context({}, {"image": GRID}, {})
    mask = jax.jit(lambda randomness: sampler(randomness, context, ratio=RATIO))(randomness)
    blurs = colour.filter_of(name)
    field = standardise(filtered_noise(randomness.each("mask")[:1], GRID, blurs), blurs)
    return np.asarray(field[0]), visible_map(np.asarray(mask.visible), GRID)


def draw_masks(path: Path) -> None:
    """Draw one row for each colour: its noise, then masks of five examples."""
    figure, axes = plt.subplots(len(INK), SHOWN + 1, figsize=(9.6, 8.6), layout="constrained")
    for row, name in zip(axes, INK, strict=True):
        field, shown = masks_of(name)
        size = mean_component_size(shown).mean()
        row[0].imshow(field, cmap="gray", interpolation="nearest")
        row[0].set_ylabel(f"{name}\ngroups of {size:.2f}", fontsize=12, color=INK[name])
        palette = matplotlib.colors.ListedColormap(["#e9e9e9", INK[name]])
        for axis, visible in zip(row[1:], shown, strict=False):
            axis.imshow(visible, cmap=palette, interpolation="nearest")
        for axis in row:
            axis.set_xticks([])
            axis.set_yticks([])
    axes[0, 0].set_title("noise, example 1", fontsize=11)
    for place in range(1, SHOWN + 1):
        axes[0, place].set_title(f"mask, example {place}", fontsize=11)
    figure.suptitle(
        "Visible tokens (coloured) are where the noise is strongest: 14 x 14 tokens, 75 % hidden.\n"
        f"Groups: mean size of 4-connected groups of visible tokens, {MEASURED:,} masks.",
        fontsize=12,
    )
    figure.savefig(path, dpi=100)
    plt.close(figure)


def draw_spectra(path: Path) -> None:
    """Draw power over frequency: lines computed from the filters, dots measured on noise."""
    figure, axis = plt.subplots(figsize=(8, 4.6), layout="constrained")
    for name, ink in INK.items():
        power = spectrum(name, count=1000)
        axis.plot(power.frequency, power.analytic, color=ink, linewidth=2, label=legend(name))
        axis.plot(power.frequency, power.measured, "o", color=ink, markersize=4)
    axis.set_xlim(0, 0.5)
    axis.set_ylim(0, None)
    axis.set_xlabel("spatial frequency, cycles per token")
    axis.set_ylabel("power, white noise = 1")
    axis.set_title("Radial power spectra of the noise: lines |H(f)|², dots measured", fontsize=12)
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def legend(name: str) -> str:
    """Return a colour and its sigmas in tokens as text."""
    sigmas = sorted({blur.sigma for blur in colour.filter_of(name)} - {0.0})
    return f"{name}, sigma {', '.join(f'{sigma:g}' for sigma in sigmas)}" if sigmas else name


def main() -> None:
    """Write both pictures."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    for draw, name in ((draw_masks, "colour_masks.png"), (draw_spectra, "spectra.png")):
        draw(IMAGES / name)
        print(f"{IMAGES / name}: {(IMAGES / name).stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
