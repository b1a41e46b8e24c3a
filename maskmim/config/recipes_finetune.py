"""Parts of recipes that fine-tune the encoder of another run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from maskmim.config.bricks import brick
from maskmim.config.parse import ConfigError

# Networks whose encoder is a plain ViT; by each what its encoder is where no key says it.
VITS: dict[str, Mapping[str, Any]] = {
    "maskmim.models.masked_vit.vit_mae": {},
    "maskmim.models.crossmae.vit_crossmae": {},
    "maskmim.models.hpm.vit_hpm": {},
    "maskmim.models.dbot.vit_dbot": {},
    "maskmim.models.r_mae.vit_r_mae": {},
    "maskmim.models.fsfm.vit_fsfm": {},
    "maskmim.models.mixed_ae.vit_mixed_ae": {},
    "maskmim.models.local_mim.vit_local_mim": {},
    "maskmim.models.pixio.vit_pixio": {"positions": "learned"},
    "maskmim.models.siamese.vit_siamese": {},
    "maskmim.models.in_place.vit_in_place": {},
    "maskmim.models.audio_mae.vit_audio_mae": {},
    "maskmim.models.videomae.vit_videomae": {"class_token": False},
    "maskmim.models.encoder_only.vit_encoder": {},
    "maskmim.models.msn.vit_msn": {"positions": "learned"},
}
# Keys of these networks that describe their encoder.
KEYS = ("variant", "patch", "class_token", "registers", "positions", "norm_eps", "compute")


def encoder_of(model: ConfigDict, **changes: Any) -> ConfigDict:
    """Return the encoder of a run as a network by itself, `models.encoder_only.vit_encoder`.

    model:   the section `model` of the run.
    changes: further keywords, such as drop_path. There is no embedding of hidden tokens.
    Raises ConfigError for a network whose encoder is no plain ViT.
    """
    if model.brick not in VITS:
        names = ", ".join(path.rpartition(".")[2] for path in VITS)
        raise ConfigError(
            f"the encoder of {model.brick} is not a plain ViT, so that no encoder by itself can "
            f"take its weights: begin from a run of one of {names}"
        )
    kept = {key: model[key] for key in KEYS if key in model}
    if "class_tokens" in model:  # Pixio's, of which all but the first are registers here
        kept["class_token"] = model.class_tokens > 0
        kept["registers"] = max(model.class_tokens - 1, 0)
    known = {**VITS[model.brick], **kept}
    return brick("maskmim.models.encoder_only.vit_encoder", **known, **changes)


def use_data_of(config: ConfigDict, run: ConfigDict) -> None:
    """Set `input`, the sources and decoders of `data` and `evals` to those of another run.

    Keys that say how records are read stay as they are in `config` where the run has none.
    """
    config.input = run.input.copy_and_resolve_references()
    for key in ("train", "decode", "max_bad_share", "workers", "threads"):
        config.data[key] = _copied(run.data[key])
    for key in ("train", "test", "decode", "transform", "batch_size"):
        config.evals[key] = _copied(run.evals[key])


def use_folders(config: ConfigDict, train: str, test: str) -> None:
    """Set the images to learn from and to test on: folders with a subfolder for each class.

    Raises ConfigError where one of them is missing.
    """
    if not (train and test):
        raise ConfigError(f"train={train},test={test}: give two folders, each with its classes")
    config.data.train = brick("maskmim.data.folder.labelled", path=train)
    config.evals.train = config.data.train.copy_and_resolve_references()
    config.evals.test = brick("maskmim.data.folder.labelled", path=test)
    config.data.decode, config.evals.decode = brick("maskmim.data.decode.picture"), None
    config.data.workers = 0


def _copied(value: Any) -> Any:
    return value.copy_and_resolve_references() if isinstance(value, ConfigDict) else value
