"""Export a run as a folder that other libraries load.

examples:
  python -m maskmim.export --workdir runs/quickstart --to hf --out exported/hf
  python -m maskmim.export --workdir runs/quickstart --to timm --out exported/timm

--to:
  hf           transformers: ViTMAE with its decoder, ViT with its classifier, or ViT, DINOv2,
               BEiT, Swin, VideoMAE and ConvNeXt V2; from_pretrained(DIR) loads it, offline and
               strictly
  timm         timm.create_model("local-dir:DIR", pretrained=True), encoders of pictures, ViTs
               with their classifier
  jax          the encoder as a program of jax.export for CPUs, GPUs and TPUs and any batch, with
               its gradient; runs without maskmim
  onnx         the encoder as an ONNX graph, by jax2onnx
  safetensors  every parameter by its path, which --config.begin.file=DIR reads

Reads config.json, results.json and the newest sound checkpoint, and changes nothing in the work
directory. Weights are those that evaluation reads, unless --weights names others. DIR appears as a
whole or not at all, and has a model card, README.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

from maskmim import errors
from maskmim.config.command_line import command_line, path
from maskmim.exports.folder import check_free, write_folder
from maskmim.exports.subject import ExportError, read_subject
from maskmim.exports.targets import TARGETS, check_target, prepare
from maskmim.runtime import activity, exits


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = command_line(
        argv,
        description=__doc__,
        config=False,
        flags={
            "encoder-only": "leave a decoder or a classifier out, with --to hf",
            "force": "replace an earlier export in --out",
        },
        options={
            "to": f"KIND: {', '.join(TARGETS)}",
            "out": "DIR: folder to write",
            "weights": "NAME: evaluated (default), trained, or an average that the run keeps",
        },
    )
    target, out = _given(options.to, "to"), path(_given(options.out, "out"))
    check_target(target, encoder_only=options.encoder_only)
    check_free(out, force=options.force)
    with activity.during(f"reading {options.workdir}"):
        subject = read_subject(options.workdir, options.weights)
    name = Path(options.workdir).resolve().name
    with activity.during(f"converting to {target}"):
        prepared = prepare(subject, name, target, encoder_only=options.encoder_only)
    sizes = write_folder(out, prepared.fill, force=options.force)
    print(f"{options.workdir}: step {subject.step}, weights: {subject.weights}")
    for line in prepared.lines:
        print(line)
    for file, size in sizes.items():
        print(f"{size:>14,} bytes  {out / file}")
    return errors.DONE


def _given(value: str | None, name: str) -> str:
    """Return the value of a flag; raise ExportError where it is missing."""
    if not value:
        raise ExportError(f"--{name} is missing; --help shows the use")
    return value


if __name__ == "__main__":
    sys.exit(exits.run(main))
