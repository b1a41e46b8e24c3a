"""The config that fine-tunes: published numbers, encoders that it takes, what it refuses."""

import jax
import pytest
from PIL import Image
from transformers import ViTConfig, ViTModel

from maskmim.checkpoints.workdir import save_config
from maskmim.config.bricks import bind
from maskmim.config.load import load
from maskmim.config.parse import ConfigError
from maskmim.config.recipes_finetune import VITS, encoder_of
from maskmim.evals.comparison import compared_runs
from maskmim.interop.difference import WeightsError
from maskmim.interop.initial_weights import check_begin
from maskmim.training.build import assemble, build_method, peak_learning_rate
from maskmim.tree_paths import named_leaves

# Official FINETUNE.md of MAE: rate per 256, layer decay, drop path, epochs.
OFFICIAL = {
    "B/16": (5e-4, 0.65, 0.1, 100),
    "L/16": (1e-3, 0.75, 0.2, 50),
    "H/14": (1e-3, 0.75, 0.3, 50),
}
# Configs whose encoder is a plain ViT.
PLAIN = ["mae", "crossmae", "dbot", "hpm", "pixio", "cropmae", "maskfeat", "audio_mae", "videomae"]
PLAIN += ["r_mae", "mixed_ae", "local_mim", "msn", "fsfm"]


@pytest.mark.parametrize("variant", OFFICIAL)
def test_the_published_recipes(variant):
    config = load(f"finetune:variant={variant}")
    rate, decay, drop_path, epochs = OFFICIAL[variant]
    optim = config.optim
    assert (optim.lr, optim.lr_per, optim.decay) == (rate, 256, decay)
    assert (optim.b1, optim.b2, optim.weight_decay) == (0.9, 0.999, 0.05)
    assert (config.train.epochs, config.train.batch_size) == (epochs, 1024)
    assert config.schedule.warmup_epochs == 5
    peak = peak_learning_rate(optim.lr, optim.lr_per, 1024)
    assert config.schedule.final * peak == pytest.approx(1e-6)
    assert config.model.drop_path == drop_path and not config.model.last_norm
    assert (config.mix.mixup, config.mix.cutmix, config.mix.chance) == (0.8, 1.0, 1.0)
    assert config.mix.per == "batch" and config.erase.chance == 0.25
    assert config.objectives.label.loss.smoothing == 0.1
    augment = config.data.augment
    assert (augment.magnitude, augment.spread, augment.chance) == (9.0, 0.5, 0.5)
    assert augment.scale == (0.08, 1.0) and config.calls.classify.std == 2e-5


@pytest.mark.parametrize("name", PLAIN)
def test_an_encoder_by_itself_has_the_arrays_of_the_run(name):
    config = load(f"{name}:tiny")
    shapes = assemble(config, 296).shapes.params["encoder"]
    before = {path: leaf.shape for path, leaf in named_leaves(shapes)}
    config.model = encoder_of(config.model)
    _, method = build_method_of_labels(config)
    after = {
        path: leaf.shape
        for path, leaf in named_leaves(jax.eval_shape(method.net.init, jax.random.key(0)))
        if path.startswith("encoder/")
    }
    missing = {f"encoder/{path}" for path in before} - set(after)
    assert missing <= {"encoder/mask_token", "encoder/source_embedding"}
    assert all(after.get(f"encoder/{path}", shape) == shape for path, shape in before.items())
    # CrossMAE has no norm behind its encoder.
    assert all("norm/" in path for path in set(after) - {f"encoder/{path}" for path in before})


def build_method_of_labels(config):
    """The method of `finetune` on the network and the input of another config."""
    labelled = load("finetune:tiny")
    labelled.model = config.model
    labels = labelled.input.labels
    labelled.input = config.input.copy_and_resolve_references()
    labelled.input.labels = labels
    return build_method(labelled)


def test_every_network_it_takes_is_in_a_config_or_its_own():
    bricks = {load(f"{name}:tiny").model.brick for name in PLAIN}
    assert bricks <= set(VITS)


@pytest.fixture
def run(tmp_path):
    """The folder of a run, as far as the config reads it."""
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    config = load("mae:tiny", ["input.size=16,16", "model.patch=4,4", "evals.batch_size=8"])
    save_config(tmp_path / "run", config)
    return tmp_path / "run"


def test_a_run_gives_its_network_and_its_images(run):
    config = load(f"finetune:begin={run},tiny")
    assert config.begin.workdir == str(run) and config.begin.weights == "trained"
    assert config.input.size == (16, 16) and config.model.patch == (4, 4)
    assert config.evals.batch_size == 8 and config.data.train.split == "val"
    assert config.input.labels.to_dict() == {"fine": 81}
    assert "from_scratch" in config.compare
    larger = load(f"finetune:{run},size=32,labels=coarse,pooling=class,alone,tiny")
    assert larger.input.size == (32, 32) and "compare" not in larger
    assert larger.input.labels.to_dict() == {"coarse": 43}
    assert larger.model.last_norm and larger.evals.pooling == "class"


def test_the_encoder_is_taken_and_the_twin_begins_from_nothing(run):
    """A classifier of the run that it begins from, of other classes perhaps, is left behind."""
    config = load(f"finetune:begin={run},tiny", ["begin.fresh=^encoder/norm"])
    assert config.begin.take == ("encoder",)
    (twin,) = compared_runs(config).values()
    check_begin(twin, run.parent / "twin")
    assert twin.begin.take == twin.begin.fresh == () and twin.optim.decay == 1.0


def test_a_twin_that_cannot_be_is_told_how_to_leave_it_out(run):
    optim = ["optim.brick=maskmim.optim.adamw"]
    with pytest.raises(ConfigError, match=r"compare\.from_scratch.*optim\.decay.*alone"):
        compared_runs(load(f"finetune:begin={run},tiny", optim))


def test_a_fine_tuned_run_is_begun_from_too(run):
    tuned = load(f"finetune:begin={run},tiny")
    save_config(run, tuned)
    config = load(f"segment:begin={run},tiny")
    assert config.input.labels.to_dict() == {} and config.input.size == (16, 16)
    assert config.model.encoder.patch == (4, 4) and config.begin.take == ("encoder",)
    assert load(f"finetune:begin={run},tiny").model.patch == (4, 4)


def test_the_twin_by_itself(run):
    config = load(f"finetune:begin={run},from_scratch,tiny")
    assert config.begin.workdir == "" and config.optim.decay == 1.0
    assert config.model.patch == (4, 4) and "compare" not in config


def test_averaged_weights_are_begun_from_where_the_run_evaluates_them(run):
    flag = ["ema.brick=maskmim.teachers.momentum.constant", "ema.value=0.9"]
    save_config(run, load("mae:tiny", flag))
    assert load(f"finetune:{run},tiny").begin.weights == "average"


def test_refuses_what_it_cannot_take(run):
    with pytest.raises(ConfigError, match="no run and no file"):
        load("finetune:begin=nowhere")
    with pytest.raises(WeightsError, match="a folder that holds no run"):
        load(f"finetune:begin={run.parent}")
    with pytest.raises(ConfigError, match=r"variant=B/16: the run .* says its network"):
        load(f"finetune:begin={run},variant=B/16")
    with pytest.raises(ConfigError, match="classes=10: 'fine' has 81"):
        load(f"finetune:begin={run},classes=10")
    with pytest.raises(ConfigError, match="recipe=mad"):
        load("finetune:recipe=mad")
    with pytest.raises(ConfigError, match="variant=nano: use B, L or H"):
        load("finetune:tiny,recipe=mae")
    save_config(run, load("convnext_v2:tiny"))
    with pytest.raises(ConfigError, match=r"not a plain ViT.*vit_mae"):
        load(f"finetune:{run}")
    unlabelled = load("mae:tiny")
    unlabelled.evals.train = None
    save_config(run, unlabelled)
    with pytest.raises(ConfigError, match="no labelled images"):
        load(f"finetune:{run}")
    save_config(run, load("mae:tiny"))
    with pytest.raises(ConfigError, match=r"labels=kind: evals\.train has coarse, fine"):
        load(f"finetune:{run},labels=kind")


def test_labelled_folders_take_the_place_of_the_images_of_the_run(run, tmp_path):
    for split in ("train", "val"):
        for name in ("cat", "dog", "eel"):
            picture = tmp_path / split / name / "0.png"
            picture.parent.mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(picture)
    given = f"train={tmp_path / 'train'},test={tmp_path / 'val'}"
    config = load(f"finetune:begin={run},{given}")
    assert config.data.train.path == config.evals.train.path == str(tmp_path / "train")
    assert config.evals.test.path == str(tmp_path / "val")
    assert config.input.labels.to_dict() == {"class": 3} and config.calls.classify.classes == 3
    with pytest.raises(ConfigError, match="two folders"):
        load(f"finetune:begin={run},train={tmp_path / 'train'}")


def test_a_test_folder_that_lacks_a_class_gets_the_list_of_all(run, tmp_path):
    """Otherwise the second class of three would be the first of two."""
    for name in ("train/cat", "train/dog", "train/eel", "val/dog", "val/eel"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name / "0.png")
    given = f"train={tmp_path / 'train'},test={tmp_path / 'val'}"
    config = load(f"finetune:begin={run},{given}")
    records = bind(config.evals.test)()
    assert records.labels == bind(config.data.train)().labels == {"class": ("cat", "dog", "eel")}
    assert [records[index].labels["class"] for index in range(2)] == [1, 2]


def test_a_file_says_its_network(tmp_path):
    """Of a ViT of transformers, whose config.json says heads and size."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 96}
    peer = ViTConfig(**sizes, num_attention_heads=4, image_size=32, patch_size=8)
    ViTModel(peer).save_pretrained(tmp_path)
    config = load(f"finetune:begin={tmp_path},labels=label,classes=10")
    assert config.model.variant == "2x32x4x96" and config.model.patch == (8, 8)
    assert config.input.size == (32, 32) and config.begin.file == str(tmp_path)
    assert config.optim.decay == 0.75 and config.data.train.name == "imagenet2012"
    other = load(f"finetune:begin={tmp_path},variant=S/16,labels=label,classes=10")
    assert other.model.variant == "S" and other.input.size == (224, 224)


def test_small_networks_learn_without_mixing():
    config = load("finetune:variant=4x128x4/12")
    assert config.mix is None and config.erase is None and config.model.drop_path == 0
    assert config.train.batch_size == 32 and config.model.patch == (12, 12)
