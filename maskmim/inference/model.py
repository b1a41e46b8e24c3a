"""A trained model in Python."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from maskmim.data import listing
from maskmim.data.records import DataError, Records
from maskmim.inference import attention, batches, encoding, reconstructing
from maskmim.inference.classifying import Classified, learnt_by, names_of, probabilities_by
from maskmim.inference.description import full_text, short_text
from maskmim.inference.given_mask import GIVEN
from maskmim.inference.inputs import Kind, kind_of, records_of
from maskmim.inference.loaded import InferenceError, Loaded, with_size
from maskmim.inference.programs import Programs
from maskmim.inference.reconstructing import Reconstruction
from maskmim.training.build import bind_evals
from maskmim.types import Method, Randomness, Tree, random_key

BATCH_SIZE = 64
Size = int | Sequence[int]


class Embedded(NamedTuple):
    """Features of some examples of a source, see `Model.encode_stream`.

    names:    of the examples: paths below a folder, keys inside an archive.
    features: f32[n, D], or as `Model.encode` returns them.
    records:  i64[n] their indices in the source.
    unread:   {name: why} of the examples between these that cannot be read.
    """

    names: tuple[str, ...]
    features: np.ndarray
    records: np.ndarray
    unread: dict[str, str]


def whole_number(name: str, value: Any) -> int:
    """Return a whole number; raise InferenceError, which names the keyword, for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InferenceError(f"{name}={value!r}: give a whole number")
    return int(value)


@dataclass(frozen=True, repr=False, eq=False)
class Model:
    """Trained weights that encode, attend and reconstruct; `maskmim.load` returns one.

    `print(model)` says what it is. Its functions take images as NumPy or JAX arrays [H, W, C] or
    [N, H, W, C] (levels 0 to 255, or floats in [0, 1]), PIL images, paths, a list of these, a
    folder, or a data source of maskmim.data; of models of clips and of sounds likewise clips
    [T, H, W, C], recordings f32[n] at the run's rate, and their files. They are decoded and cropped
    as the run's evaluations do (see `crop` of `load`), and nothing is masked where nothing says so.
    N counts the images in the order given, of a folder sorted by name. A file that cannot be read
    is an error; `encode_stream` skips it.

    loaded:     the method, its config and its arrays.
    batch_size: the largest batch that is computed at a time. crop: see `load`.
    """

    loaded: Loaded
    batch_size: int = BATCH_SIZE
    crop: bool = True
    _others: dict[tuple[int, ...], Model] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise InferenceError(f"batch_size={self.batch_size!r}: give 1 or more")
        self._others.setdefault(self.size, self)

    def __repr__(self) -> str:
        return short_text(self.loaded)

    def __str__(self) -> str:
        return full_text(self.loaded)

    @property
    def config(self) -> ConfigDict:
        """The config of the run; of a file, that of the network it was read into."""
        return self.loaded.config

    @property
    def size(self) -> tuple[int, ...]:
        """The size of the inputs: (height, width), (frames, height, width) or (time, mel)."""
        return tuple(self.loaded.spec.size)

    @property
    def grid(self) -> tuple[int, ...]:
        """The grid of the tokens: (rows, columns), (frames, rows, columns) or (time, mel)."""
        return self.loaded.grid

    @property
    def width(self) -> int:
        """D, the width of the encoder's tokens."""
        return self.loaded.method.net.width

    @property
    def step(self) -> int | None:
        """The step of the checkpoint; None for a file of another codebase."""
        return self.loaded.step

    @property
    def params(self) -> Tree:
        """The weights that are used, nested dicts of arrays: the averaged ones of `config.ema`."""
        return self.loaded.method.evaluated(self._programs.variables).params

    def at_size(self, size: Size) -> Model:
        """Return the model for inputs of another size: a side, or the whole of `size`.

        One side stands for height and width. Positions are resized, said once on stderr.
        Raises InferenceError where the network cannot be built for it.
        """
        wanted = self._sides(size)
        if wanted not in self._others:
            as_trained = next(iter(self._others.values()))
            loaded, line = with_size(as_trained.loaded, wanted)
            listing.tell_once(line)
            self._others[wanted] = Model(loaded, self.batch_size, self.crop, self._others)
        return self._others[wanted]

    def encode(
        self,
        images: Any,
        *,
        layers: Sequence[int] | int | None = None,
        pooling: str | None = encoding.AS_EVALUATED,
        size: Size | None = None,
    ) -> np.ndarray:
        """Return features of whole images, without a mask: f32[N, D].

        layers:  numbers of blocks, negative ones from the last (-1): f32[N, layers, D], the output
                 of these blocks before any last norm. None: the encoder's output behind its norm.
        pooling: 'mean' of the patch tokens, 'class' for the class token, 'class_mean' for both
                 beside each other f32[N, 2 D], None for every patch token f32[N, K, D]; by default
                 that of the run's evaluations, whose features these are.
        size:    of the inputs, as by `at_size`.
        Raises InferenceError for images that cannot be read, for an encoder without what is asked.
        """
        here = self._at(size)
        name, function = here._encoder(layers, pooling)
        return here._map(name, function, here._records(images))

    def classify(
        self, images: Any, *, objective: str | None = None, size: Size | None = None
    ) -> Classified:
        """Return the classes that a run learnt to tell apart, of whole images, see `Classified`.

        objective: a key of `config.objectives`, where several learn from labels.
        Raises InferenceError for a run that learnt no labels, and for a file.
        """
        here = self._at(size)
        name, learnt = learnt_by(here.loaded, objective)
        function = probabilities_by(here.loaded, learnt)
        found = here._map(("classify", name), function, here._records(images))
        return Classified(found, names_of(here.loaded, learnt, found.shape[1]))

    def encode_stream(
        self,
        source: Any,
        *,
        layers: Sequence[int] | int | None = None,
        pooling: str | None = encoding.AS_EVALUATED,
        start: int = 0,
    ) -> Iterator[Embedded]:
        """Yield the features of a large source batch by batch, in its order.

        source: what `encode` takes: a folder, a data source. start: index of the first example,
        whose features are those of a pass from 0 to the bit.
        Files that cannot be read are left out and named in `Embedded.unread`; a part may have
        none but such. Where 64 in a row, or all, cannot be read, InferenceError is raised.
        layers, pooling: as of `encode`.
        """
        records, start = self._records(source), whole_number("start", start)
        if not 0 <= start <= len(records):
            raise InferenceError(f"start={start}: the source has {len(records):,} examples")
        name, function = self._encoder(layers, pooling)
        if start == len(records):
            return
        for batch in self._batches(records, strict=False, start=start):
            features = np.asarray(self._programs.call(name, function, batch.arrays))
            indices = batch.records[batch.valid]
            unread = {records.name(index): why for index, why in batch.reasons.items()}
            names = tuple(records.name(int(index)) for index in indices)
            yield Embedded(names, features[batch.valid], indices, unread)

    def features_map(
        self,
        images: Any,
        layer: int | None = None,
        *,
        stream: str | None = None,
        size: Size | None = None,
    ) -> np.ndarray:
        """Return the patch tokens on their grid: f32[N, rows, columns, D], any axes of the grid.

        layer:  number of a block, as of `encode`; None for the encoder's output.
        stream: of a model of several; None for the main one.
        """
        here = self._at(size)
        _, where, grid = encoding.stream_tokens(here.loaded, stream)
        if isinstance(layer, Sequence):
            raise InferenceError(f"layer={layer!r}: give the number of one block")
        name, function = here._encoder(layer, None)
        tokens = here._map(name, function, here._records(images))
        tokens = tokens if layer is None else tokens[:, 0]
        return encoding.on_grid(tokens[:, where], grid, 1)

    def attention(
        self,
        images: Any,
        layer: int = -1,
        *,
        rollout: bool = False,
        stream: str | None = None,
        size: Size | None = None,
    ) -> np.ndarray:
        """Return how much the class token attends to each patch: f32[N, heads, rows, columns].

        layer:   number of a block. Of an encoder without a class token the mean over all patches as
                 queries is returned.
        rollout: multiply the attention of all blocks, heads averaged (arXiv 2005.00928):
                 f32[N, rows, columns]; `layer` is not read.
        Weights are those of the softmax over all tokens, of which patches get the rest that class
        token and registers leave: sums over a map are below 1.
        Raises InferenceError for networks that are no ViT.
        """
        here = self._at(size)
        if rollout is not True and not isinstance(layer, int | np.integer):
            raise InferenceError(f"layer={layer!r}: give the number of a block, -1 for the last")
        if rollout:
            name, function = ("rollout", stream), attention.rollout(here.loaded, stream)
        else:
            name = ("attention", layer, stream)
            function = attention.class_attention(here.loaded, layer, stream)
        return here._map(name, function, here._records(images))

    def mask(
        self, images: Any, seed: int = 0, *, stream: str | None = None, size: Size | None = None
    ) -> np.ndarray:
        """Return masks of the run's sampler, True for hidden patches: bool[N, rows, columns].

        images: or a number of black ones, for samplers that do not look at them.
        seed:   image number i gets the same mask for a seed, whatever else is given.
        """
        here, seed = self._at(size), whole_number("seed", seed)
        function = reconstructing.hidden_by(here.loaded, stream)
        if not isinstance(images, int | np.integer):
            records = here._records(images)
            here._check_groups(len(records))
            return here._map(("mask", stream), function, records, seed)
        if images < 1:
            raise InferenceError(f"mask({images}): give 1 or more, or images")
        here._check_groups(int(images))
        spec, config = here.loaded.spec, here.loaded.config
        blank = batches.blank_batches(int(images), spec, config, most=here.batch_size)
        return here._run(("mask", stream), function, blank, seed)

    def reconstruct(
        self,
        images: Any,
        mask: Any = None,
        seed: int = 0,
        *,
        stream: str | None = None,
        size: Size | None = None,
    ) -> Reconstruction:
        """Hide patches and let the model predict them; return pictures, see `Reconstruction`.

        mask: bool[N, *grid], or bool[*grid] for all images, True is hidden; equally many of each
              image. None: the run's sampler draws them from `seed`, as `mask` returns them.
        Raises InferenceError where the model predicts no pixels, and for a mask that does not fit.
        """
        here, seed = self._at(size), whole_number("seed", seed)
        records, hidden, method = here._records(images), None, here.loaded.method
        count = None
        if mask is not None:
            reconstructing.check_takes_masks(here.loaded)
            hidden = reconstructing.check_hidden(mask, len(records), here.grid)
            count = int(hidden[0].sum())
            method = here._with_given_mask(count)
        here._check_groups(len(records))
        function = reconstructing.pictures_by(here.loaded, method, stream)
        found = here._map(("reconstruct", stream, count), function, records, seed, hidden)
        pictures = (found[key] for key in ("image", "masked", "restored", "raw"))
        return Reconstruction(*pictures, found["hidden"])

    @cached_property
    def _programs(self) -> Programs:
        return Programs(self.loaded.method, self.loaded.variables)

    @cached_property
    def _kind(self) -> Kind:
        return kind_of(self.loaded.spec, bind_evals(self.loaded.config))

    def _check_groups(self, count: int) -> None:
        size = batches.padded_size(count, self.batch_size)
        reconstructing.check_groups(self.loaded, count, size)

    def _with_given_mask(self, count: int) -> Method:
        """Return the method with masks that are given, each of `count` hidden tokens."""
        return self._programs.kept(
            ("given", count), lambda: reconstructing.with_given_mask(self.loaded, count)
        )

    def _at(self, size: Size | None) -> Model:
        return self if size is None else self.at_size(size)

    def _sides(self, size: Size) -> tuple[int, ...]:
        """Return a whole size; raise InferenceError for what is none of this model's inputs."""
        if isinstance(size, int | np.integer):
            size = (*self.size[:-2], int(size), int(size))
        given = tuple(size) if isinstance(size, Sequence) and not isinstance(size, str) else ()
        if len(given) != len(self.size) or not all(
            isinstance(side, int | np.integer) and side > 0 for side in given
        ):
            raise InferenceError(
                f"size={size!r}: give a side, or all {len(self.size)} of them as {self.size}; "
                "sides are whole numbers of at least 1"
            )
        return tuple(map(int, given))

    def _records(self, images: Any) -> Records:
        try:
            return records_of(images, self.loaded.spec, self._kind)
        except DataError as error:
            raise InferenceError(str(error)) from error

    def _encoder(
        self, layers: Sequence[int] | int | None, pooling: str | None
    ) -> tuple[Hashable, Callable[..., Any]]:
        """Return the name of an encoder of `Programs`, and the encoder."""
        numbers = encoding.as_layers(layers)
        name, pool = encoding.pooling_of(pooling, self.loaded)
        return ("encode", numbers, name), encoding.pooled_by(self.loaded, pool, numbers)

    def _batches(self, records: Records, **options: Any) -> Iterator[batches.Batch]:
        spec, config = self.loaded.spec, self.loaded.config
        return batches.batches(
            records, spec, config, most=self.batch_size, whole=not self.crop, **options
        )

    def _map(
        self,
        name: Hashable,
        function: Callable[..., Any],
        records: Records,
        seed: int | None = None,
        hidden: np.ndarray | None = None,
    ) -> Any:
        """Return what a function makes of all records, see `_run`."""
        given = self._batches(records, as_trained=seed is not None)
        return self._run(name, function, given, seed, hidden)

    def _run(
        self,
        name: Hashable,
        function: Callable[..., Any],
        given: Iterable[batches.Batch],
        seed: int | None = None,
        hidden: np.ndarray | None = None,
    ) -> Any:
        """Return what a function makes of batches, as numpy: an array or a dict of arrays.

        name:   of the function in `Programs`.
        seed:   of its Randomness, whose slots are the indices of the records; None: it takes none.
        hidden: bool[N, tokens] of each record, which join the batch.
        """
        rows = []
        for batch in given:
            arrays, slots = batch.arrays, np.maximum(batch.records, 0)
            if hidden is not None:
                arrays = {**arrays, GIVEN: hidden[slots]}
            drawn = () if seed is None else (Randomness(random_key(seed), slots.astype("uint32")),)
            made = self._programs.call(name, function, arrays, *drawn)
            rows.append(jax.tree.map(lambda a, v=batch.valid: np.asarray(a)[v], made))
        return jax.tree.map(lambda *parts: np.concatenate(parts), *rows)
