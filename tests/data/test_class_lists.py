"""Class lists of training and test data: what is odd is named, with the cure."""

import unicodedata
from types import SimpleNamespace

import pytest

from maskmim.config.load import load
from maskmim.data.class_lists import check_classes
from maskmim.data.folder import labelled
from maskmim.data.records import DataError
from tests.data import files

PNG = files.encoded(files.picture(), "PNG")


def refusal(train, test):
    with pytest.raises(DataError) as error:
        check_classes(SimpleNamespace(labels=train), SimpleNamespace(labels=test))
    return str(error.value)


def of_classes(train, test):
    return refusal({"class": tuple(train)}, {"class": tuple(test)})


def test_odd_classes_are_named_on_both_sides():
    said = of_classes(["cat", "dog", "emu"], ["cat", "dog", "yak"])
    assert "have other classes for the labels class" in said
    assert "only in training emu" in said and "only in test yak" in said
    assert "--config.evals.train.classes=cat,dog,emu,yak" in said
    assert "--config.evals.test.classes=cat,dog,emu,yak" in said


def test_many_odd_classes_are_counted():
    said = of_classes([f"c{i}" for i in range(100)], ["c1"])
    assert "c0, c10, c11, c12, c13 and 94 more" in said and "classes=A,B,..." in said
    assert "only in test" not in said


@pytest.mark.parametrize(
    "one, other",
    [("Cat", "cat"), ("ötter", unicodedata.normalize("NFD", "ötter")), ("STRASSE", "straße")],
)
def test_names_that_read_alike(one, other):
    said = of_classes(["a", one], ["a", other])
    assert f"{one!r} and {other!r} differ in upper and lower case or in how accents" in said
    assert "classes=" not in said


def test_other_kinds_of_difference():
    assert "another order" in of_classes(["a", "b"], ["b", "a"])
    assert "no class is in both" in of_classes(["a", "b"], ["x", "y"])
    assert "only the training data have these labels" in refusal({"k": ("a", "b")}, {})
    assert "only the test data have these labels" in refusal({}, {"k": ("a", "b")})


def test_one_class_tells_nothing_apart():
    said = refusal({"class": ("photos",)}, {"class": ("photos",)})
    assert "one class only, 'photos'" in said and "at_end=reconstruction" in said
    same = SimpleNamespace(labels={"a": ("x",), "b": ("y", "z")})
    check_classes(same, same)


@pytest.mark.parametrize("names", [("0", "1", "7"), ("001", "True", "none"), ("a,b", "c d"), "ab"])
def test_the_cure_works(tmp_path, names):
    """The flags that the message gives are read, and both folders then agree."""
    files.write(tmp_path, {f"train/{name}/1.png": PNG for name in names})
    files.write(tmp_path, {f"test/{name}/1.png": PNG for name in [*names[:-1], "extra"]})
    train, test = (str(tmp_path / part) for part in ("train", "test"))
    with pytest.raises(DataError) as error:
        check_classes(labelled(path=train), labelled(path=test))
    import shlex

    words = shlex.split(str(error.value).rpartition("if these are folders: ")[2])
    flags = [word.removeprefix("--config.") for word in words]
    evals = load(f"folder:{train},test={test}", flags).evals
    check_classes(
        labelled(path=evals.train.path, classes=evals.train.classes),
        labelled(path=evals.test.path, classes=evals.test.classes),
    )
