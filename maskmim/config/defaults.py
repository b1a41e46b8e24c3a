"""The sections that every config has, with their defaults; config files start from here."""

from __future__ import annotations

from collections.abc import Mapping

from ml_collections import ConfigDict

from maskmim.config.bricks import brick
from maskmim.imagenet import IMAGENET_MEAN, IMAGENET_STD


def base() -> ConfigDict:
    """Return a locked config: MAE ViT-B/16 at 224 px on the embedded photographs.

    Sections marked [result] change what is learnt; those marked [speed] do not, up to the order of
    floating-point sums. `--print-config` shows the same marks (`config.print_config`).
    """
    config = ConfigDict()
    config.seed = 0  # [result]

    # [result] What enters, see maskmim.types.Spec: of an image its pixels (height, width) and the
    # statistics of pixels in [0, 1], of each channel or one for all. channel_names: of each
    # channel, or none. classes: how many, where values are indices. kind: how it is shown, [speed].
    # streams, fields, labels: what else an example has, by name.
    config.input = ConfigDict(
        {
            "size": (224, 224),
            "channels": 3,
            "mean": IMAGENET_MEAN,
            "std": IMAGENET_STD,
            "stream": "image",
            "dtype": "uint8",
            "channel_names": (),
            "classes": 0,
            "kind": brick("maskmim.modalities.image"),
            "streams": {},
            "fields": {},
            "labels": {},
        }
    )

    # [result] Weights to begin with: of a run (workdir) or a file, see docs/weights.md.
    config.begin = ConfigDict(
        {"workdir": "", "file": "", "weights": "trained", "take": (), "fresh": ()}
    )

    # [result] The method: its function, and one section for each of its keywords.
    config.method = "maskmim.methods.masked.masked"
    config.model = brick("maskmim.models.masked_vit.vit_mae")
    config.mask = brick("maskmim.masks.uniform.random", ratio=0.75)
    config.objectives = ConfigDict({"pixels": norm_pix_objective()})
    config.teachers = ConfigDict()
    # Learned functions that objectives call, by name, such as a projector.
    config.calls = ConfigDict()

    # [result] except workers and threads. repeats: crops of each record, side by side in the batch.
    config.data = ConfigDict(
        {
            "train": brick("maskmim.data.grocery.grocery", split="train+val"),
            "decode": brick("maskmim.data.decode.picture"),
            "augment": brick("maskmim.data.transforms.random_resized_crop_flip"),
            "max_bad_share": 0.01,
            "repeats": 1,
            "workers": 0,
            "threads": 4,
        }
    )

    config.update(learning())

    # [speed]
    config.update(upkeep())
    config.evals = evaluation()
    return config.lock()


def learning() -> ConfigDict:
    """Return what a run learns by: train, ema, optim, schedule; all [result]."""
    config = ConfigDict()
    # micro_batches splits the batch to save memory; only losses that compare examples notice.
    config.train = ConfigDict(
        {"epochs": 300.0, "batch_size": 4096, "micro_batches": 1, "max_bad_steps": 3}
    )
    # An average of the weights that evaluation reads, by its momentum, such as
    # brick("maskmim.teachers.momentum.constant", value=0.9999); None for the weights themselves.
    config.ema = None
    config.optim = brick("maskmim.optim.adamw")
    config.schedule = brick("maskmim.schedules.warmup_cosine", warmup_epochs=40.0)
    return config


def stream(**values: object) -> ConfigDict:
    """Return a section of `config.input.streams`; without a value, as the main stream of `base`.

    size None: that of the main stream. mean and std are not read where there are classes.
    """
    section = ConfigDict(
        {
            "size": None,
            "channels": 3,
            "mean": IMAGENET_MEAN,
            "std": IMAGENET_STD,
            "dtype": "uint8",
            "channel_names": (),
            "classes": 0,
            "kind": brick("maskmim.modalities.image"),
        }
    )
    return _changed(section, values)


def field(**values: object) -> ConfigDict:
    """Return a section of `config.input.fields`: the shape of one example's array, and its dtype.

    shape None is to be given yet.
    """
    return _changed(ConfigDict({"shape": None, "dtype": "float32"}), values)


def _changed(section: ConfigDict, values: Mapping[str, object]) -> ConfigDict:
    """Return a locked section with other values; KeyError names a key that it lacks."""
    with section.lock().ignore_type():
        for name, value in values.items():
            section[name] = value
    return section


def upkeep() -> ConfigDict:
    """[speed] Where a run lives and what it keeps and writes: mesh, checkpoint, log, process."""
    config = ConfigDict()
    # Devices along each axis, -1 for all that are left: docs/sharding.md.
    config.mesh = ConfigDict(
        {
            "data": -1,
            "fsdp": 1,
            "sequence": 1,
            "tensor": 1,
            "rules": "maskmim.training.sharding.transformer",
        }
    )
    config.checkpoint = ConfigDict(
        {"every_epochs": 1.0, "keep_latest": 2, "keep_every_epochs": 0.0}
    )
    # picture_channels: those that pictures show as red, green and blue, or one as grey, by number
    # from 0 or by name; () for the first three. trackers: services that get the metrics too, by
    # name, such as brick("maskmim.reporting.trackers.wandb", project="faces"): docs/runs.md.
    config.log = ConfigDict(
        {
            "every_steps": 10,
            "pictures_every_epochs": 10.0,
            "picture_channels": (),
            "trackers": {},
        }
    )
    # Seconds without progress after which a process leaves (code 70), 0 for never: in a
    # step, and in anything else, such as an evaluation. Folder of compiled programs, in the
    # work directory; '' for none.
    config.process = ConfigDict(
        {
            "stuck_after_seconds": 600.0,
            "stuck_elsewhere_seconds": 14400.0,
            "compile_cache": "programs",
        }
    )
    return config


def evaluation() -> ConfigDict:
    """Return an evaluation on the embedded photographs.

    every_epochs 0: at the end only. decode None: as data.decode. streams: those that enter the
    encoder, by name; () for all. during, at_end: probes and measures of an evaluation in training,
    and of the last one. monitors: measures of every evaluation. baselines: whether probes of the
    last one run on raw values, colours and the encoder before training, too.
    """
    return ConfigDict(
        {
            "train": brick("maskmim.data.grocery.grocery", split="train+val"),
            "test": brick("maskmim.data.grocery.grocery", split="test"),
            "decode": brick("maskmim.data.decode.picture"),
            "transform": brick("maskmim.data.transforms.resize_center_crop"),
            "batch_size": 256,
            "pooling": "mean",
            "streams": (),
            "every_epochs": 0.0,
            "during": ("knn",),
            "at_end": ("knn", "linear_probe", "reconstruction"),
            "monitors": ("effective_rank", "feature_std", "held_out", "agreement"),
            "baselines": True,
            "probes": {
                "knn": brick("maskmim.evals.knn.knn"),
                "linear_probe": brick("maskmim.evals.linear_probe.linear_probe"),
                "logistic_probe": brick("maskmim.evals.logistic_probe.logistic_probe"),
                "few_shot": brick("maskmim.evals.few_shot.few_shot"),
            },
            "measures": {
                "effective_rank": brick("maskmim.evals.effective_rank.effective_rank"),
                "feature_std": brick("maskmim.evals.effective_rank.feature_std"),
                "held_out": brick("maskmim.evals.held_out.held_out"),
                "agreement": brick("maskmim.evals.agreement.agreement"),
                "lidar": brick("maskmim.evals.lidar.lidar"),
                "layers": brick("maskmim.evals.layers.layers"),
                "attentive": brick("maskmim.evals.attentive.attentive"),
                "attentive_efficient": brick("maskmim.evals.attentive.attentive_efficient"),
                "spectrum": brick("maskmim.evals.spectrum.spectrum"),
                "cka": brick("maskmim.evals.cka.cka"),
                "attention_distance": brick("maskmim.evals.attention_distance.attention_distance"),
                "smoothing": brick("maskmim.evals.smoothing.smoothing"),
                "corruptions": brick("maskmim.evals.robustness.corruptions.corruptions"),
                "occlusion": brick("maskmim.evals.robustness.occlusion.occlusion"),
                **dense_measures(),
            },
        }
    )


def dense_measures() -> dict[str, ConfigDict]:
    """Return evaluations at every pixel, on scenes made of the embedded photographs.

    The numbers are ours: they take minutes on two CPU cores.
    """
    heads = {
        "linear": brick("maskmim.models.dense_heads.linear"),
        "dpt": brick("maskmim.models.dpt_head.dpt", width=48, channels=(48, 48, 96, 96)),
        "upernet": brick("maskmim.models.upernet_head.upernet", width=48),
    }
    learners = {"in_context": brick("maskmim.evals.dense.in_context.in_context")} | {
        # A layer that starts at 0 has far to go in 200 steps of Adam, each of about its rate.
        name: brick(
            "maskmim.evals.dense.trained_head.trained_head",
            head=head,
            lr=0.05 if name == "linear" else 3e-3,
        )
        for name, head in heads.items()
    }
    quarters = (0.25, 0.5, 0.75, 1.0)
    made = {}
    for task, data in (("segmentation", "scene_classes"), ("depth", "scene_depth")):
        for name, learner in learners.items():
            made[f"{task}_{name}"] = brick(
                f"maskmim.evals.dense.{task}.{task}",
                name=name,
                data=brick(f"maskmim.evals.dense.data.{data}"),
                learner=learner,
                layers=quarters if name in ("dpt", "upernet") else (),
            )
    return made


def norm_pix_objective() -> ConfigDict:
    """MAE's objective: squared error against pixels normalised within each patch."""
    return brick(
        "maskmim.objectives.match",
        head="pixels",
        target=brick("maskmim.targets.pixels.normalised_patches"),
        loss=brick("maskmim.losses.squared_error"),
    )
