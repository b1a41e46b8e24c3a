"""The sources of the command: folders, archives, and the data of the run's own evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from maskmim.data import archives, folder, listing, sound_folder, video_folder
from maskmim.data.records import Records
from maskmim.embedding.errors import EmbedError
from maskmim.inference.inputs import Kind, kind_of
from maskmim.inference.loaded import Loaded
from maskmim.training.build import bind_evals

KINDS = "folder:PATH, labelled:PATH, run:train or run:test"
SPLITS = ("train", "test")
# Subfolders of recordings as classes.
BY_SUBFOLDER = r"(?P<class>[^/]+)/.*"
FOLDERS = {
    "image": (folder.unlabelled, folder.labelled),
    "clip": (video_folder.unlabelled, video_folder.labelled),
    "sound": (
        sound_folder.recordings,
        lambda *, path: sound_folder.recordings(path=path, pattern=BY_SUBFOLDER),
    ),
}


class Source(NamedTuple):
    """Records to embed.

    kind: of an example: 'image', 'clip' or 'sound'.
    root: the folder that the names of files lie below; None where they lie in none.
    """

    records: Records
    kind: str
    root: Path | None


def check_source(text: str) -> tuple[str, str]:
    """Return the kind of a source and its path or split. Raises EmbedError for any other text."""
    kind, _, rest = text.partition(":")
    if kind not in ("folder", "labelled", "run") or not rest:
        raise EmbedError(f"--data {text!r} is not a known source: write {KINDS}")
    if kind == "run" and rest not in SPLITS:
        raise EmbedError(f"--data {text!r}: write run:train or run:test, the data of evaluations")
    return kind, rest


def open_source(text: str, loaded: Loaded) -> Source:
    """Open a source of what a model sees, pictures, clips or sounds.

    text: 'folder:PATH' or 'labelled:PATH' with a folder, a tar or a zip file of pictures, a folder
          of videos or of sounds; 'run:train' and 'run:test' for the data of the run's evaluations.
    Raises EmbedError, and DataError for a path without such files.
    """
    kind, rest = check_source(text)
    seen = kind_of(loaded.spec, bind_evals(loaded.config))
    if kind == "run":
        return Source(_of_run(rest, loaded), seen.name, None)
    if seen.by_stream:
        raise EmbedError(
            f"this model sees {', '.join(loaded.spec.arrays)}, which folders of one kind of files "
            "do not have: use run:train or run:test, or Model.encode_stream in Python"
        )
    return _of_files(kind, rest, seen)


def _of_run(split: str, loaded: Loaded) -> Records:
    evals = bind_evals(loaded.config)
    opener = evals.train if split == "train" else evals.test
    if opener is None:
        raise EmbedError(
            f"{loaded.title} has no data of evaluations (evals.{split} is None): name a folder, "
            "as --data folder:PATH"
        )
    return opener()


def _of_files(kind: str, text: str, seen: Kind) -> Source:
    path = Path(text).expanduser()
    has_labels = kind == "labelled"
    if path.is_file():
        if seen.name != "image":
            raise EmbedError(
                f"--data {kind}:{text}: archives are read for models of pictures, this one sees "
                f"{seen.name}s: unpack it and name the folder"
            )
        opened = archives.labelled if has_labels else archives.unlabelled
        return Source(opened(path=text), seen.name, None)
    root = listing.existing_folder(text)
    return Source(FOLDERS[seen.name][has_labels](path=text), seen.name, root)
