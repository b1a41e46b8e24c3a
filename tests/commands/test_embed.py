"""The command line of embed: what is refused before a model is read."""

import sys

import pytest

from maskmim import embed
from maskmim.config.parse import ConfigError
from maskmim.embedding.errors import EmbedError

GIVEN = ["--source=/nowhere", "--data=folder:/nowhere", "--out=OUT/f.npz"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out=OUT/f.csv"], r"f\.csv: its end says what is written, \.safetensors, \.npz, "),
        (["--out=OUT"], "its end says what is written"),
        (["--out=OUT/folder.npz"], "is a folder: name a file"),
        (["--out=OUT/there.npz"], r"there\.npz exists: name another file, or replace it with"),
        (["--data=/nowhere"], "is not a known source: write folder:PATH, labelled:PATH"),
        (["--data=run:valid"], "write run:train or run:test"),
        (["--stride=2"], "give --window SECONDS too"),
        (["--window=0"], "--window 0: give seconds, at least 0.01"),
        (["--window=nan"], "--window nan: give seconds"),
        (["--window=2", "--stride=-1"], "--stride -1: give seconds"),
        (["--layers=last"], "expected numbers of blocks, as --layers=3,-1, got 'last'"),
        (["--size=big"], "expected a size, as 224 or 16x224x224, got 'big'"),
        (["--heads=0"], "expected a whole number of at least 1, got '0'"),
        (["--mean=0.5;0.5"], "expected a number per channel, as 0.5,0.5,0.5, got '0.5;0.5'"),
        (["--batch=3"], "unknown flag '--batch'"),
        ([], "there is nothing at '/nowhere'"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path, words, message):
    (tmp_path / "there.npz").touch()
    (tmp_path / "folder.npz").mkdir()
    replaced = {word.partition("=")[0] for word in words}
    words = [*(word for word in GIVEN if word.partition("=")[0] not in replaced), *words]
    with pytest.raises((EmbedError, ConfigError, ValueError), match=message):
        embed.main([word.replace("OUT", str(tmp_path)) for word in words])
    assert {path.name for path in tmp_path.iterdir()} == {"there.npz", "folder.npz"}


def test_parquet_without_its_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(EmbedError, match=r"pip install pyarrow, or 'maskmim\[parquet\]'"):
        embed.main([*GIVEN[:2], f"--out={tmp_path}/f.parquet"])


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit):
        embed.main(["--help"])
    shown = capsys.readouterr().out
    assert "python -m maskmim.embed --source runs/quickstart" in shown and "--layers" in shown
