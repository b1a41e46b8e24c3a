"""What is written for each kind of export: the files of the folder, and its model card."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from maskmim.config.serialize import to_json
from maskmim.exports import onnx_graph, program
from maskmim.exports.card import card
from maskmim.exports.counterpart import Counterpart
from maskmim.exports.hf import hf
from maskmim.exports.preprocessing import REMARK, image_processor
from maskmim.exports.provenance import licence_of
from maskmim.exports.subject import ExportError, Subject
from maskmim.exports.timm import timm
from maskmim.interop import own_layout
from maskmim.interop.layout import write_arrays
from maskmim.tree_paths import named_leaves

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
OWN_LOAD = """# In maskmim: --config.begin.file=FOLDER begins a training from these weights.
from safetensors.numpy import load_file

arrays = load_file(FOLDER + "/model.safetensors")  # {"encoder/embed/kernel": f32 array, ...}"""
PICTURE = """from PIL import Image
from transformers import AutoImageProcessor

processor = AutoImageProcessor.from_pretrained(FOLDER)
images = processor(Image.open("photo.jpg"), return_tensors="pt")["pixel_values"]

"""
CLIPS = """from transformers import AutoImageProcessor

processor = AutoImageProcessor.from_pretrained(FOLDER)
clips = processor(frames, return_tensors="pt")["pixel_values"]  # frames: a list of pictures

"""


class Prepared:
    """An export that is ready to be written: everything that may be refused has been done.

    fill: folder -> None, writes the files. lines: for people, about what was left out.
    """

    def __init__(self, fill: Callable[[Path], None], lines: tuple[str, ...] = ()):
        self.fill, self.lines = fill, lines


def check_target(target: str, *, encoder_only: bool) -> None:
    """Raise ExportError for a target that does not exist, and a flag that is not for it."""
    if target not in TARGETS:
        raise ExportError(f"--to {target}: there are {', '.join(TARGETS)}")
    if encoder_only and target != "hf":
        raise ExportError(
            f"--encoder-only is for --to hf, where a decoder is written too: --to {target} "
            f"{'writes every parameter' if target == 'safetensors' else 'has no decoder anyway'}"
        )


def prepare(subject: Subject, name: str, target: str, *, encoder_only: bool) -> Prepared:
    """Return the export of a run to a target, a key of TARGETS.

    name: of the run, for the card. encoder_only: as of `hf.hf`, for the target 'hf' alone.
    Raises ExportError for what the target cannot express.
    """
    return TARGETS[target](subject, name, encoder_only)


def _to_hf(subject: Subject, name: str, encoder_only: bool) -> Prepared:
    made = hf(subject, encoder_only=encoder_only)
    processor = image_processor(subject)
    if processor is None:
        made = made._replace(remarks=(*made.remarks, REMARK))
    else:
        made = made._replace(load=(CLIPS if len(subject.spec.size) == 3 else PICTURE) + made.load)
    return _of_counterpart(subject, name, "transformers", made, processor)


def _to_timm(subject: Subject, name: str, encoder_only: bool) -> Prepared:
    return _of_counterpart(subject, name, "timm", timm(subject), None)


def _of_counterpart(
    subject: Subject, name: str, library: str, made: Counterpart, processor: dict | None
) -> Prepared:
    licence = licence_of(subject.origin)
    text = card(subject, name, library, made.load, made.remarks, licence, made.task)

    def fill(folder: Path) -> None:
        _write_json(folder / CONFIG, made.config)
        if processor is not None:
            _write_json(folder / "preprocessor_config.json", processor)
        write_arrays(folder / WEIGHTS, made.arrays)
        (folder / CARD).write_text(text, encoding="utf-8")

    return Prepared(fill, (f"{library}: {made.architecture}", *made.remarks))


def _to_jax(subject: Subject, name: str, encoder_only: bool) -> Prepared:
    params = program.encoder_params(subject)
    content = program.program(subject, params)
    remarks = (
        "A program of jax.export is read by versions of jax of the next six months at least; the "
        "parameters beside it are not bound to any.",
    )
    text = _card(subject, name, "jax", program.load_lines(subject), remarks)

    def fill(folder: Path) -> None:
        (folder / program.FILE).write_bytes(content)
        own_layout.save(folder / WEIGHTS, params, _facts(subject))
        (folder / CONFIG).write_text(to_json(subject.config), encoding="utf-8")
        (folder / CARD).write_text(text, encoding="utf-8")

    return Prepared(fill, (f"a program for {', '.join(program.PLATFORMS)}, any batch",))


def _to_onnx(subject: Subject, name: str, encoder_only: bool) -> Prepared:
    model = onnx_graph.graph(subject)
    remark = "The size of the input is fixed, the batch is not; parameters are in the graph."
    text = _card(subject, name, "onnx", onnx_graph.load_lines(subject), (remark,))

    def fill(folder: Path) -> None:
        onnx_graph.save(model, folder / onnx_graph.FILE)
        (folder / CONFIG).write_text(to_json(subject.config), encoding="utf-8")
        (folder / CARD).write_text(text, encoding="utf-8")

    return Prepared(fill, (remark,))


def _to_safetensors(subject: Subject, name: str, encoder_only: bool) -> Prepared:
    arrays = dict(named_leaves(subject.params))
    text = _card(subject, name, "maskmim", OWN_LOAD, ())

    def fill(folder: Path) -> None:
        own_layout.save(folder / WEIGHTS, arrays, _facts(subject))
        (folder / CONFIG).write_text(to_json(subject.config), encoding="utf-8")
        (folder / CARD).write_text(text, encoding="utf-8")

    return Prepared(fill, ("every parameter by its path",))


def _facts(subject: Subject) -> dict[str, str]:
    return {
        "step": str(subject.step),
        "method": subject.config.method,
        "model": subject.brick,
        "weights": subject.weights,
    }


def _card(subject: Subject, name: str, library: str, load: str, remarks: tuple[str, ...]) -> str:
    return card(subject, name, library, load, remarks, licence_of(subject.origin))


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


TARGETS = {
    "hf": _to_hf,
    "timm": _to_timm,
    "jax": _to_jax,
    "onnx": _to_onnx,
    "safetensors": _to_safetensors,
}
