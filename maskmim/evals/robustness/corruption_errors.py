"""Errors over corruptions and severities: their mean, and relative to a baseline, as ImageNet-C."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from maskmim.config.describe import title
from maskmim.config.parse import ConfigError
from maskmim.data.corruptions import LEVELS
from maskmim.errors import count_of
from maskmim.evals.measures import Measured
from maskmim.evals.robustness.classifiers import Classifier, images_of
from maskmim.evals.trained import Trained
from maskmim.reporting.curves import draw_curves
from maskmim.reporting.metrics_file import flat_metrics

CLEAN = "clean"
# {corruption: the error of each severity}, shares in [0, 1].
Errors = Mapping[str, Sequence[float]]


def mean_error(errors: Errors) -> float:
    """Return the mean error over corruptions and severities."""
    return float(np.mean([np.mean(each) for each in errors.values()]))


def corruption_error(errors: Errors, baseline: Mapping[str, float]) -> float:
    """Return mCE, the mean over corruptions of the error relative to the baseline's.

    baseline: {corruption: its mean error over the same severities}. 1 is as bad as the baseline.
    Infinite where a baseline makes no error.
    Source: ImageNet-C (arXiv 1903.12261), section 4.3, which multiplies by 100.
    """
    return _mean_ratio(errors, baseline, 0.0, 0.0)


def relative_corruption_error(
    errors: Errors, clean: float, baseline: Mapping[str, float], baseline_clean: float
) -> float:
    """Return relative mCE: as `corruption_error`, of what each error exceeds that without.

    clean, baseline_clean: errors on clean pictures. Source: as there.
    """
    return _mean_ratio(errors, baseline, clean, baseline_clean)


def _mean_ratio(
    errors: Errors, baseline: Mapping[str, float], clean: float, baseline_clean: float
) -> float:
    ours = np.array([np.mean(each) for each in errors.values()], np.float64) - clean
    theirs = np.array([baseline[name] for name in errors], np.float64) - baseline_clean
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.mean(ours / theirs))


class Baseline(NamedTuple):
    """Errors that the same measure found of another encoder.

    path: of its results.json. errors: {corruption, or CLEAN: error}. settled: what decided them.
    """

    path: str
    errors: Mapping[str, float]
    settled: Mapping[str, Any]

    def check(self, settled: Mapping[str, Any]) -> None:
        """Raise ConfigError unless the baseline's errors are of the same test as these.

        settled: what decides the errors here, see `settled_of`.
        """
        differing = [
            f"{name} {self.settled.get(name)!r} there, {value!r} here"
            for name, value in json.loads(json.dumps(settled)).items()
            if self.settled.get(name) != value
        ]
        if differing:
            raise ConfigError(
                f"baseline={self.path} does not fit, evaluate both with equal settings: "
                f"{'; '.join(differing[:3])}"
            )


def read_baseline(path: str, prefix: str, names: Sequence[str]) -> Baseline:
    """Return errors that the same measure found of another encoder: of names and of CLEAN.

    path: a results.json. prefix: of the metrics, 'corruptions'.
    Raises ConfigError where the file cannot be read, lacks one of them, or does not say what
    decided them, as files of earlier versions.
    """
    file = Path(path).expanduser()
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"baseline={path} cannot be read as a results.json ({error})") from error
    again = "evaluate the baseline by the same measure with the same settings first"
    metrics = flat_metrics(results)
    wanted = {name: f"{prefix}/{name}" for name in (*names, CLEAN)}
    if lacking := [metric for metric in wanted.values() if metrics.get(metric) is None]:
        raise ConfigError(f"baseline={path} lacks {', '.join(lacking[:3])}: {again}")
    protocols = results["measures"].get("protocol", {}).values()
    settled = [each["settled"] for each in protocols if "settled" in each]
    same = [each for each in settled if each.get("metrics") == prefix]
    if not same:
        raise ConfigError(
            f"baseline={path} does not say of which labels, images and classifier its errors are, "
            f"as files of earlier versions: {again}"
        )
    return Baseline(path, {name: float(metrics[of]) for name, of in wanted.items()}, same[0])


def settled_of(trained: Trained, judge: Classifier, prefix: str, images: int) -> dict[str, Any]:
    """Return what decides errors beside the encoder and the corruptions, JSON values by name.

    images: that were read of `evals.test`.
    """
    return {
        "metrics": prefix,
        "labels": judge.labels,
        "classes": len(judge.classes),
        "images": images,
        "severities": list(LEVELS),
        "classifier": judge.title,
        **judge.settled,
        "evals.test": images_of(trained.test.records),
        "evals.decode": title(trained.test.decode),
        "evals.transform": title(trained.test.transform),
    }


def measured(
    prefix: str, errors: Errors, clean: float, baseline: Mapping[str, float], about: str
) -> Iterator[Measured]:
    """Yield the errors of every severity and corruption, their mean and, with a baseline, mCE.

    baseline: `Baseline.errors`; {} for none. about: what was classified, for people.
    """
    for name, each in errors.items():
        for severity, error in zip(LEVELS, each, strict=True):
            yield Measured(f"{prefix}/{name}/{severity}", error, "")
        shown = ", ".join(f"{100 * error:.1f}" for error in each)
        text = f"error {100 * np.mean(each):.1f} % (by severity: {shown})"
        yield Measured(f"{prefix}/{name}", float(np.mean(each)), text)
    total = mean_error(errors)
    curves = {
        name: ([0, *LEVELS], [100 * e for e in (clean, *each)]) for name, each in errors.items()
    }
    picture = draw_curves(
        curves, title=about, across="severity, 0 for clean pictures", up="error (%)"
    )
    text = f"error {100 * total:.1f} % over {count_of(len(errors), 'corruption')}, {about}"
    yield Measured(f"{prefix}/mean_error", total, text, picture=picture)
    if baseline:
        mce = corruption_error(errors, baseline)
        yield Measured(f"{prefix}/mce", mce, f"mCE {100 * mce:.1f} % of the baseline's")
        excess = relative_corruption_error(errors, clean, baseline, baseline[CLEAN])
        text = f"relative mCE {100 * excess:.1f} % of the baseline's"
        yield Measured(f"{prefix}/relative_mce", excess, text)
