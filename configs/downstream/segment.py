"""Fine-tuning on maps of classes: a run's encoder and a head that finds the class of each pixel.

  python -m maskmim.train --config segment:begin=runs/quickstart --workdir runs/segmented
  python -m maskmim.train --config segment:begin=runs/mae,path=/data/ADEChallengeData2016 \\
      --workdir runs/ade20k
  python -m maskmim.train --config segment:begin=runs/mae,path=/data/CamVid,layout=camvid \\
      --workdir runs/camvid

After the colon: begin=RUN (a run on pictures; without it a small ViT is trained from scratch);
head=linear | dpt | upernet; epochs=N; scenes=N (of training; a quarter as many are tested on);
path=FOLDER with pictures and maps, laid out as layout=ade20k | camvid (docs/dense.md); tiny (a few
steps of a very small model, for tests).

Without a path the pictures are scenes (maskmim/data/scenes.py): cut-outs of the embedded
photographs on other photographs, with the class of each pixel. That is a synthetic composition of
real photographs: it compares runs with each other, and its numbers do not carry over to real
scenes.

The encoder, its size of pictures and their statistics are those of the run. AdamW, crops of 25 to
100 % of a picture and flips, cross-entropy on every pixel of a class; the encoder learns at a tenth
of the head's rate, that of a small network at a half of a higher one. The recipe is ours; MAE's for
ADE20K (arXiv 2111.06377, appendix A.4: UPerNet, 100 epochs, batch size 16, layer-wise decay) has a
network of relative positions that is not here.
"""

from pathlib import Path

from ml_collections import ConfigDict

from maskmim.checkpoints.workdir import load_config
from maskmim.config import ConfigError, add, base, brick, parse_argument, recipes
from maskmim.config.bricks import public_path
from maskmim.config.defaults import field
from maskmim.data import joint_crop, label_maps, stream_folders
from maskmim.data.decode_each import each
from maskmim.data.scenes import EIGHT, class_scenes
from maskmim.evals.dense import data, own_head, segmentation
from maskmim.masks import roles
from maskmim.models import dense_heads, dpt_head, upernet_head
from maskmim.models.dense_net import dense_net
from maskmim.models.encoder_only import vit_encoder
from maskmim.objectives import classify_field
from maskmim.optim import adamw_by_path
from maskmim.schedules import warmup_cosine

SYSTEMS = ()

HEADS = {
    "linear": (dense_heads.linear, {}),
    "dpt": (dpt_head.dpt, {"width": 96, "channels": (48, 96, 192, 192)}),
    "upernet": (upernet_head.upernet, {"width": 96}),
}
QUARTERS = (0.25, 0.5, 0.75, 1.0)
# Layout: folders of pictures and maps of training and of testing, classes, index of no class.
LAYOUTS = {
    "ade20k": (
        ("images/training", "annotations/training"),
        ("images/validation", "annotations/validation"),
        151,
        0,
    ),
    "camvid": (("train", "trainannot"), ("test", "testannot"), 11, 11),
}
MAPS = "classes"
LARGE = ("S", "B", "L", "H", "g")


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg,
        begin="",
        head="linear",
        epochs=20.0,
        scenes=512,
        path="",
        layout="ade20k",
        tiny=False,
    )
    config = base()
    encoder = begun(config, choice["begin"]) if choice["begin"] else small(config, choice["tiny"])
    classes, void = maps(config, choice)
    make, keywords = recipes.pick_option("head", choice["head"], HEADS)
    config.model = brick(
        dense_net,
        encoder=encoder,
        outputs=classes,
        head=brick(make, **keywords),
        layers=() if make is dense_heads.linear else QUARTERS,
        name=MAPS,
    )
    config.mesh.rules = public_path(dense_heads.rules)
    config.mask = brick(roles.everything)
    config.objectives = {MAPS: brick(classify_field, head=MAPS, field=MAPS, void=void)}
    train(config, choice["epochs"], encoder.variant if "variant" in encoder else "")
    if choice["tiny"]:
        recipes.tiny_run(config, at_end=("segmentation",))
        recipes.tiny_schedule(config)
    return config


def begun(config: ConfigDict, begin: str) -> ConfigDict:
    """Set the input of a run and its weights to begin with; return its model."""
    if not Path(begin).expanduser().is_dir():
        raise ConfigError(f"begin={begin}: there is no run of that name")
    run = load_config(Path(begin).expanduser())
    if len(run.input.size) != 2 or run.input.streams:
        raise ConfigError(f"begin={begin}: that run is not on pictures alone")
    config.input = run.input.copy_and_resolve_references()
    config.input.labels = {}
    config.data.decode = run.data.decode
    weights = "trained" if run.ema is None else "average"
    config.begin.update(workdir=begin, weights=weights, take=("encoder",))
    return run.model


def small(config: ConfigDict, tiny: bool) -> ConfigDict:
    """Set the size of pictures; return a small ViT, that of the quickstart, or a tiny one."""
    config.input.size = (32, 32) if tiny else (96, 96)
    if tiny:
        return brick(vit_encoder, variant="nano", patch=(8, 8))
    return brick(vit_encoder, variant="4x128x4", patch=(12, 12))


def maps(config: ConfigDict, choice: dict) -> tuple[int, int | None]:
    """Set pictures and maps of `data` and `evals`; return classes and the index of no class."""
    if choice["path"]:
        classes, void = of_folders(config, choice["path"], choice["layout"])
    else:
        classes, void = of_scenes(config, choice["scenes"], choice["tiny"])
    config.input.fields = {MAPS: field(shape=config.input.size, dtype="int32")}
    decoder = brick(label_maps.label_map, classes=classes, void=void)
    streams = {config.input.stream: config.data.decode, MAPS: decoder}
    config.data.decode = config.evals.decode = brick(each, streams=streams)
    config.data.augment = brick(joint_crop.joint_crop, scale=(0.25, 1.0), nearest=(MAPS,))
    config.evals.transform = brick(joint_crop.joint_center_crop, nearest=(MAPS,))
    config.evals.train = None
    return classes, void


def of_folders(config: ConfigDict, path: str, layout: str) -> tuple[int, int]:
    """Set pictures and maps in folders; return classes and the index of no class."""
    train, test, classes, void = recipes.pick_option("layout", layout, LAYOUTS)
    config.data.train, config.evals.test = (
        brick(
            stream_folders.unlabelled,
            path=path,
            streams=dict(zip((config.input.stream, MAPS), folders, strict=True)),
        )
        for folders in (train, test)
    )
    given = {"path": path, "classes": classes, "void": void, "train": train, "test": test}
    measure(config, brick(data.folders, **given))
    return classes, void


def of_scenes(config: ConfigDict, count: int, tiny: bool) -> tuple[int, None]:
    """Set scenes, small and few of them for tests; return their classes."""
    size, count = ((32, 40), 32) if tiny else ((96, 128), count)
    tested = max(1, count // 4)
    config.data.train = brick(class_scenes, split="train", count=count, size=size)
    config.evals.test = brick(class_scenes, split="test", count=tested, size=size)
    measure(config, brick(data.scene_classes, count=count, test_count=tested, size=size))
    return len(EIGHT), None


def measure(config: ConfigDict, data: ConfigDict) -> None:
    """Add the measure of whole pictures by the head that is trained."""
    own = brick(own_head.own_head, head=MAPS)
    made = brick(segmentation.segmentation, name="fine_tuned", data=data, learner=own, beside=())
    add(config.evals.measures, segmentation=made)


def train(config: ConfigDict, epochs: float, variant: str) -> None:
    """Set the recipe; small networks take higher rates."""
    rate, encoder = (1e-3, 0.1) if variant in LARGE else (4e-3, 0.5)
    config.train.update(epochs=epochs, batch_size=16)
    config.optim = brick(adamw_by_path, lr=rate, lr_per=0, rates=(("^encoder/", encoder),))
    config.schedule = brick(warmup_cosine, warmup_epochs=epochs / 10)
    config.evals.at_end = ("segmentation",)
