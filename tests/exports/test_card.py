"""The model card: metadata, how the run was trained, its results, where its weights come from."""

import json

import pytest
import yaml

from maskmim.evals.report import build_results
from maskmim.exports.card import card
from maskmim.exports.provenance import Licence, licence_of
from maskmim.exports.subject import Subject, _read_later
from maskmim.interop.initial_weights import describe
from tests.exports.subjects import subject_of

PLACE = "data.train.path=/home/someone/private"
MIX = "mix.brick=maskmim.methods.mixing.mixup_or_cutmix"
UNKNOWN = Licence("", "")
BEGAN = {
    "layout": "a layout",
    "sha256": "0123456789abcdef",
    "taken": "encoder",
    "arrays": 12,
    "time": "2026-01-01T00:00:00+00:00",
}


@pytest.fixture(scope="module")
def subject() -> Subject:
    return subject_of("mae:tiny", "data.train.brick=maskmim.data.folder.unlabelled", PLACE)


def results(shares):
    metrics = {"this encoder": {"knn/fine/top1": shares[0]}, "raw pixels": {"knn/fine/top1": 0.1}}
    evaluators = {"knn": {"brick": "maskmim.evals.knn.knn", "keywords": {"k": 20}}}
    probes = build_results(
        metrics,
        dimensions=dict.fromkeys(metrics, 32),
        classes={"fine": 81},
        train_images=100,
        test_images=50,
        evaluators=evaluators,
        skipped={},
        failed={},
        seconds={},
    )
    return {"step": 5, "probes": probes, "reconstruction": {"reconstruction/mse": 0.0123}}


def text_of(subject, licence=UNKNOWN, **changes):
    return card(subject._replace(**changes), "runs/a", "transformers", "load(FOLDER)", (), licence)


def metadata(text):
    return yaml.safe_load(text.split("---\n")[1])


def test_metadata_recipe_and_results(subject):
    text = text_of(subject, results=results([0.42]))
    assert metadata(text) == {
        "library_name": "transformers",
        "pipeline_tag": "image-feature-extraction",
        "tags": ["maskmim", "masked-image-modeling", "masked"],
    }
    for words in (
        "step 5 of a pretraining by masked modelling",
        "(80 examples seen)",
        "masks.uniform.random(ratio=0.75)",
        "targets.pixels.normalised_patches",
        "this encoder",
        "42.0 ± 7.0",
        "evals.knn.knn(k=20)",
        "mse 0.0123",
        "began from random parameters",
        "32x32, 3 channels",
    ):
        assert words in text, words


def test_places_of_files_are_left_out(subject):
    text = text_of(subject)
    assert "data.folder.unlabelled(" in text and "private" not in text


def test_results_of_another_step_are_said_to_be(subject):
    assert "Measured at step 5, not" in text_of(subject, step=9, results=results([0.42]))
    assert "the run has no results.json" in text_of(subject)


def test_a_run_on_labels_is_no_masked_modelling():
    text = text_of(subject_of("finetune:tiny", MIX))
    assert "of a training on labels (" in text and "| mask |" not in text
    assert "| mix | `methods.mixing.mixup_or_cutmix(" in text
    assert metadata(text)["tags"] == ["maskmim", "image-classification", "supervised"]


def test_a_tokenizer_is_called_one():
    text = text_of(subject_of("vqgan:tiny"))
    assert "of a training of a tokenizer (" in text
    assert metadata(text)["tags"] == ["maskmim", "adversarial"]


def test_a_run_that_was_compared_shows_the_table(subject):
    top1 = {"fine-tuned from a": {"fine": 0.5}, "from scratch": {"fine": 0.25}}
    stored = {"top1": top1, "remark": "No linear probe: /home/someone/private holds no run."}
    text = text_of(subject, results={"step": 5, "comparison": stored})
    rows = [line.split() for line in text.split("\n")]
    assert ["fine-tuned", "from", "a", "50.0"] in rows and ["from", "scratch", "25.0"] in rows
    assert "private" not in text


def test_later_evaluations_follow(subject, tmp_path):
    later = {"cka": {"step": 5, "measures": {"metrics": {"cka": 0.75}}}, "a+b": results([0.25])}
    for names, content in later.items():
        (tmp_path / f"results-{names}.json").write_text(json.dumps(content))
    (tmp_path / "results-torn.json").write_text("{")
    read = _read_later(tmp_path)
    text = text_of(subject, results=results([0.42]), later=read)
    assert list(read) == ["a+b", "cka"]
    first, second = text.index("### a, b"), text.index("### cka")
    assert text.index("42.0") < first < text.index("25.0") < second < text.index("cka 0.75")


def test_the_settings_of_measures_are_shown_without_places(subject):
    inner = "data.folder(path=/home/someone, classes=a)"
    brick = {"brick": "maskmim.evals.dense.segmentation", "keywords": {"data": inner, "k": 5}}
    measures = {"metrics": {"segmentation/miou": 0.25}, "protocol": {"segmentation": brick}}
    text = text_of(subject, results={"step": 5, "measures": measures})
    shown = "- segmentation: `evals.dense.segmentation(data=data.folder(classes=a), k=5)`"
    assert "segmentation/miou 0.25." in text and shown in text and "someone" not in text


def test_results_of_other_weights_are_said_to_be(subject):
    measured = subject._replace(results=results([0.5]) | {"step": subject.step})
    words = "Measured with the averaged weights of the run, not with these."
    assert words not in text_of(measured)
    assert words in text_of(measured._replace(is_evaluated=False))
    averaged = text_of(measured._replace(weights="average"))
    assert "the weights are their moving average" in averaged


def test_the_licence_of_weights_begun_from_is_carried_along(subject, tmp_path):
    first = {**BEGAN, "file": str(tmp_path / "mae.safetensors")}
    origin = {"began": {**BEGAN, "run": "runs/b", "step": 9, "weights": "trained", "began": first}}
    unknown = licence_of(origin)
    assert unknown.name == "" and "not known" in unknown.sentence
    (tmp_path / "README.md").write_text("---\ntags: [a]\nlicense: cc-by-nc-4.0\n---\n# MAE\n")
    known = licence_of(origin)
    text = text_of(subject, known, origin=origin)
    assert metadata(text)["license"] == "cc-by-nc-4.0"
    assert describe(origin["began"])[1:] in text and known.sentence in text
    assert "Add `license:`" in text_of(subject, unknown, origin=origin)
    assert licence_of({}) == UNKNOWN


def test_a_card_is_markdown_of_one_table(subject):
    rows = [line for line in text_of(subject).splitlines() if line.startswith("| ")]
    assert all(line.replace(r"\|", "").count("|") == 3 for line in rows[1:])
    assert json.dumps(metadata(text_of(subject)))
