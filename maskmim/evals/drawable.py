"""Which streams of a method can be drawn and reconstructed, and why others cannot."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from maskmim.evals.evaluation import evaluated_shapes
from maskmim.modalities import Modality, ModalityError
from maskmim.models.one_stream import token_slice
from maskmim.models.streams import stream_net
from maskmim.reporting.streams import divides, hidden_values
from maskmim.training.build import Assembly
from maskmim.types import Net, Spec


class Drawable(NamedTuple):
    """A stream that can be drawn.

    net:    the network narrowed to the stream, see `models.streams.stream_net`.
    grid:   its token grid.
    tokens: the places of its tokens among those of all streams.
    """

    spec: Spec
    modality: Modality
    net: Net
    grid: tuple[int, ...]
    tokens: slice

    @property
    def shows_masks(self) -> bool:
        """Return whether each token covers equally many values, so that hidden ones can be grey."""
        return divides(self.grid, self.spec.size)

    def hidden_values(self, hidden: np.ndarray) -> np.ndarray | None:
        """Return which values lie in hidden tokens of the stream, for `Modality.picture`.

        hidden: bool[B, N of the stream]. Returns bool[B, *size]; None where tokens do not divide
        the size.
        """
        shape = len(hidden), *self.spec.size
        return hidden_values(hidden, self.grid, shape) if self.shows_masks else None


def drawable_streams(parts: Assembly) -> dict[str, Drawable]:
    """Return the streams that can be drawn, by name, in the order of `Spec.arrays`."""
    streams = {}
    for name, spec in parts.spec.arrays.items():
        if not _net_obstacle(parts, name) and not _kind_obstacle(parts, name):
            grids, own = parts.method.net.grids, _grid_name(parts, name)
            net, tokens = stream_net(parts.method.net, own), token_slice(grids, own)
            streams[name] = Drawable(spec, parts.modalities[name], net, grids[own], tokens)
    return streams


def restorable_streams(parts: Assembly) -> dict[str, Net]:
    """Return the narrowed networks of the streams whose predictions become arrays again, by name.

    Nothing is restored where the method predicts no pixels.
    """
    net = parts.method.net
    if "reconstruct" not in parts.method.apply or net.restore is None:
        return {}
    return {
        name: stream_net(net, _grid_name(parts, name))
        for name in parts.spec.arrays
        if not _net_obstacle(parts, name)
    }


def can_draw_masks(parts: Assembly) -> bool:
    """Return whether the method has a mask, and a stream on whose pictures it can be shown."""
    has_mask = "mask" in parts.method.apply
    return has_mask and any(each.shows_masks for each in drawable_streams(parts).values())


def picture_remarks(parts: Assembly) -> list[str]:
    """Return a sentence for each stream whose pictures are skipped; none where none are drawn."""
    method, remarks = parts.method, []
    if not ({"mask", "reconstruct"} & set(method.apply) or method.sheets):
        return []
    drawable = drawable_streams(parts)
    for name, spec in parts.spec.arrays.items():
        why = _net_obstacle(parts, name) or _kind_obstacle(parts, name)
        if why:
            remarks.append(f"pictures of {name!r} are skipped: {why}")
        elif "mask" in method.apply and not drawable[name].shows_masks:
            grid, size = _product(drawable[name].grid), _product(spec.size)
            remarks.append(
                f"masks of {name!r} are not drawn: {grid} tokens do not divide {size} values"
            )
    return remarks


def check_pictures(parts: Assembly) -> None:
    """Draw a blank example of each stream; raise ModalityError naming the kind that fails."""
    for name, stream in drawable_streams(parts).items():
        blank = np.zeros((1, *stream.spec.shape), np.uint8)
        for hidden in (None, np.ones(blank.shape[:-1], bool)):
            try:
                stream.modality.draw(blank, hidden)
            except Exception as error:  # whatever a function of the user raises
                words = str(error)
                if not isinstance(error, ModalityError):
                    words = f"the picture function fails: {type(error).__name__}: {error}"
                raise ModalityError(f"{_kind_key(parts, name)}: {words}") from error


def _kind_key(parts: Assembly, stream: str) -> str:
    return "input.kind" if stream == parts.spec.stream else f"input.streams.{stream}.kind"


def _grid_name(parts: Assembly, stream: str) -> str:
    """Return the key of a stream in `Net.grids`; that of the only grid for the only stream."""
    grids = parts.method.net.grids
    alone = len(grids) == 1 and stream == parts.spec.stream
    return next(iter(grids)) if alone else stream


def _net_obstacle(parts: Assembly, stream: str) -> str:
    """Return why the network cannot show a stream, '' where it can."""
    net = parts.method.net
    if _grid_name(parts, stream) not in net.grids:
        return "the network has no tokens of it"
    if net.display is None:
        return "the network cannot show its inputs (Net.display is None)"
    shapes = evaluated_shapes(parts, 1)
    if stream not in shapes:
        return "evals.transform makes no array of it"
    inputs = jax.eval_shape(stream_net(net, _grid_name(parts, stream)).inputs, shapes)
    if not isinstance(inputs, jax.ShapeDtypeStruct):
        return "what enters the network is no single array (Net.inputs)"
    return ""


def _kind_obstacle(parts: Assembly, stream: str) -> str:
    """Return why the kind of a stream shows nothing of it, '' where it shows something."""
    modality, spec = parts.modalities[stream], parts.spec.arrays[stream]
    key = _kind_key(parts, stream)
    if modality.picture is None:
        return f"{key} has no picture"
    if not modality.fits(spec):
        taken = " or ".join(map(str, modality.axes))
        return (
            f"{key} draws sizes of {taken} axes, this one has {len(spec.size)} "
            f"({_product(spec.size)}); of maskmim.modalities, image and spectrogram draw 2 axes, "
            "clip 3, and unseen says that there is nothing to draw"
        )
    return ""


def _product(numbers: tuple[int, ...]) -> str:
    return " x ".join(map(str, numbers))
