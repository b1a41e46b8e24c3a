"""Evaluates a method: probes beside baselines, measures, reconstruction errors, pictures."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from maskmim import errors, files
from maskmim.checkpoints.workdir import CONFIG
from maskmim.data.class_lists import check_classes
from maskmim.data.pipeline import eval_batches
from maskmim.evals import baselines
from maskmim.evals.drawable import restorable_streams
from maskmim.evals.evaluation import Evaluation
from maskmim.evals.failures import PICTURES, RECONSTRUCTION, describe, noted
from maskmim.evals.features import Split
from maskmim.evals.measures import Measurements, run_measures
from maskmim.evals.method_pictures import draw_reconstruction, draw_sheets
from maskmim.evals.needs import OF_METHOD, unmet
from maskmim.evals.results_file import Interim, would_lose_numbers, write_results
from maskmim.evals.results_table import results_table
from maskmim.evals.suite import run_probes
from maskmim.evals.trained import trained_of
from maskmim.evals.unreadable import Unreadable, sentences, watched
from maskmim.reporting.metrics_file import OURS
from maskmim.runtime import activity, processes
from maskmim.training.build import Assembly

Results = dict[str, Any]
RESULTS = "results.json"
UNTRAINED = "random init"
# Why nothing is reconstructed.
NO_DECODER = "these weights are an encoder's, without the decoder that predicts hidden patches"
NO_PIXELS = "this method predicts nothing that becomes pixels again"


class Finished(NamedTuple):
    """The results of an evaluation, and what went wrong: an error to raise, None where nothing."""

    results: Results
    error: errors.UserError | None


class Seen(NamedTuple):
    """What the parts of an evaluation have read, for those that follow.

    features: {encoder: (train, test)}, which probes have computed.
    """

    features: dict[str, tuple[Split, Split]]
    unreadable: Unreadable

    @classmethod
    def nothing(cls) -> Seen:
        """Return what no part has read."""
        return cls({}, {})


def finish(
    evaluation: Evaluation,
    names: Sequence[str],
    *,
    file: str = RESULTS,
    rows: Sequence[Mapping[str, Any]] = (),
    asked: Sequence[str] | None = None,
    weights: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
) -> Finished:
    """Evaluate, write the results, the last pictures and the loss curve, and print the table.

    names: 'reconstruction', and probes and measures of `config.evals`. file: in
    `evaluation.workdir`. rows: of the run's metrics.jsonl, for the loss curve and the first values.
    asked: names whose failure is an error; None for all. That of a monitor that nobody asked for is
    shown, and does not end a run that is otherwise whole as failed.
    weights: of a file, what the results say of it, 'file', 'layout' and 'input'; None for a run.
    overrides: KEY=VALUE of settings that differ from the run's, which the results record.
    One evaluation that fails leaves the others, and a kill leaves what was finished in
    unfinished-<file>. The file stays where it has numbers and nothing new was found.
    """
    workdir, step, started = evaluation.workdir, evaluation.step, time.perf_counter()
    results: Results = {"step": step, "images_seen": step * evaluation.config.train.batch_size}
    if weights is not None:
        results["weights"] = dict(weights)
    if overrides:
        results["overrides"] = list(overrides)
    interim = Interim(workdir, file, is_writer=processes.is_main())
    failed = _evaluate(evaluation, names, results, rows=rows, asked=asked, keep=interim.keep)
    results["seconds"] = round(time.perf_counter() - started, 1)
    if failed:
        results["failed"] = failed
    is_kept = bool(names) and would_lose_numbers(workdir / file, results)
    problem = None
    if processes.is_main() and not is_kept:
        pictures = evaluation.pictures
        problem = write_results(workdir, file, results, rows, pictures=pictures)
    processes.print_once("\n" + results_table(results))
    if problem is not None:
        return Finished(results, problem)
    interim.remove()
    drawn = (workdir / evaluation.pictures).exists()
    line = f"{file} and {evaluation.pictures}/ are" if drawn else f"{file} is"
    line += f" in {workdir}"
    if is_kept:
        line = f"{workdir / file} keeps its numbers of an earlier evaluation: this one has none"
    processes.print_once(f"\n{line}")
    run = workdir if file == RESULTS and (workdir / CONFIG).exists() else None
    return Finished(results, describe(failed, run, workdir / file) if failed else None)


def _evaluate(
    evaluation: Evaluation,
    names: Sequence[str],
    results: Results,
    *,
    rows: Sequence[Mapping[str, Any]],
    asked: Sequence[str] | None,
    keep: Callable[[Results], None],
) -> dict[str, str]:
    """Run the evaluations of `finish`, add to the results; return {evaluation: why it failed}.

    keep: called with the results so far, after each part and each measure.
    """
    parts, step = evaluation.parts, evaluation.step
    failed: dict[str, str] = {}
    seen = Seen.nothing()
    probes, measures = split_names(names, parts.evals.measures)
    skipped: dict[str, str] = {}
    if RECONSTRUCTION in names and not restorable_streams(parts):
        is_encoder = "mask" not in parts.method.apply
        skipped[RECONSTRUCTION] = NO_DECODER if is_encoder else NO_PIXELS
    elif RECONSTRUCTION in names:
        what = "measuring the reconstruction of hidden patches"
        with activity.during(what), noted(failed, RECONSTRUCTION):
            results[RECONSTRUCTION] = draw_reconstruction(evaluation).errors
            keep(results)
    with activity.during("drawing pictures"), noted(failed, PICTURES):
        draw_sheets(evaluation)
    if probes and parts.evals.train and parts.evals.test:
        with noted(failed, *probes):
            results["probes"] = compare(evaluation, probes, seen)
            failed |= results["probes"].pop("failed")
            keep(results)
    elif probes:
        skipped |= dict.fromkeys(probes, "evals.train and evals.test name no labelled images")
    if skipped:
        results["skipped"] = skipped
    if measures:
        with noted(failed, *measures):
            earlier = [row for row in rows if row["step"] < step]
            bricks = {name: parts.evals.measures[name] for name in measures}
            found = measure(
                evaluation,
                measures,
                seen=seen,
                start=first_values(earlier),
                logged={name for row in rows if "lr" in row for name in row},
                keep=lambda found: keep({**results, "measures": found.as_results(bricks)}),
            )
            results["measures"] = found.as_results(bricks)
            wanted = measures if asked is None else asked
            failed |= {name: why for name, why in found.failed.items() if name in wanted}
    if unread := sentences(seen.unreadable):
        results["unreadable"] = unread
    return failed


def with_monitors(
    names: Sequence[str], monitors: Sequence[str], parts: Assembly
) -> tuple[str, ...]:
    """Return the names of evaluations with those of monitors behind them, each once.

    Monitors are the same for all methods: those that the method has nothing for are left out.
    """
    lacking = unmet({name: parts.evals.measures[name] for name in monitors}, parts, OF_METHOD)
    return tuple(dict.fromkeys([*names, *(name for name in monitors if name not in lacking)]))


def split_names(
    names: Sequence[str], measures: Mapping[str, Callable]
) -> tuple[list[str], list[str]]:
    """Return the names of the probes among some evaluations, and those of the measures."""
    probes = [name for name in names if name != RECONSTRUCTION and name not in measures]
    return probes, [name for name in names if name in measures]


def first_values(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the first value of every metric in the rows of a metrics.jsonl."""
    first: dict[str, float] = {}
    for row in rows:
        first |= {n: v for n, v in row.items() if n not in first and v is not None}
    return first


def measure(
    evaluation: Evaluation,
    names: Sequence[str],
    *,
    seen: Seen,
    start: Mapping[str, float],
    logged: Collection[str] = (),
    keep: Callable[[Measurements], None] = lambda _: None,
) -> Measurements:
    """Run the named measures of the config; write their pictures, <metric>-<step>.png.

    start: see `Trained.start`. logged: names that the training has logged. keep: see
    `run_measures`.
    """
    parts = evaluation.parts
    bricks = {name: parts.evals.measures[name] for name in names}
    features = {name: test.features for name, (_, test) in seen.features.items()}
    trained = trained_of(
        evaluation,
        seen=features.get(OURS),
        untrained=features.get(UNTRAINED),
        start=start,
        unreadable=seen.unreadable,
        learnt_from=seen.features[OURS][0] if OURS in seen.features else None,
    )
    found = run_measures(
        trained,
        bricks,
        skipped=unmet(bricks, parts),
        probes=parts.evals.probes,
        logged={*logged, *parts.method.sheets},
        keep=keep,
    )
    for metric, picture in found.pictures.items():
        if processes.is_main():
            with contextlib.suppress(OSError):  # a picture must not end anything
                name = f"{metric}-{evaluation.step}.png"
                files.save_png(evaluation.workdir / evaluation.pictures / name, picture)
    return found


def compare(evaluation: Evaluation, probes: Sequence[str], seen: Seen) -> dict[str, Any]:
    """Probe this encoder, with `evals.baselines` beside raw pixels, colours and itself untrained.

    seen: takes the features in.
    """
    parts, others = evaluation.parts, {}
    if evaluation.config.evals.baselines:
        modality = parts.modalities[parts.spec.stream]
        others |= baselines.untrained_encoders(parts.spec, modality)
        others[UNTRAINED] = evaluation.untrained_encoder
    encoders = {**others, OURS: evaluation.encoder}
    return probe(evaluation, encoders, probes, seen, stored=others)


def evaluate_during_training(
    evaluation: Evaluation, names: Sequence[str], start: Mapping[str, float]
) -> Measurements:
    """Run probes, on this encoder alone, and measures; the metrics of both in one.

    start: see `Trained.start`. Probes without labelled images are left out.
    """
    evals = evaluation.parts.evals
    probes, measures = split_names(names, evals.measures)
    seen = Seen.nothing()
    metrics: dict[str, float] = {}
    failed: dict[str, str] = {}
    if probes and evals.train and evals.test:
        with noted(failed, *probes):
            results = probe(evaluation, {OURS: evaluation.encoder}, probes, seen)
            metrics |= results["encoders"][OURS]["metrics"]
            failed |= results["failed"]
    found = Measurements.none()
    with noted(failed, *measures):
        found = measure(evaluation, measures, seen=seen, start=start)
    texts = [*filter(None, [metrics_line(metrics)]), *found.texts]
    return found._replace(
        metrics=metrics | found.metrics,
        texts=texts,
        warnings=[*found.warnings, *sentences(seen.unreadable)],
        failed=failed | found.failed,
    )


def probe(
    evaluation: Evaluation,
    encoders: Mapping[str, Callable],
    probes: Sequence[str],
    seen: Seen,
    *,
    stored: Collection[str] = (),
) -> dict[str, Any]:
    """Run the named probes of the config on the features of some encoders; seen takes them in.

    stored: encoders whose scores may be those of an earlier evaluation, see `stored_scores`.
    """
    config, parts = evaluation.config, evaluation.parts
    train, test = parts.evals.train(), parts.evals.test()
    check_classes(train, test)

    def batches(records: Any, source: str) -> Callable:
        size = config.evals.batch_size
        unread = seen.unreadable.setdefault(source, {})

        def opened() -> Iterable[Mapping[str, Any]]:
            read = eval_batches(
                records,
                spec=parts.spec,
                batch_size=size,
                decode=parts.evals.decode,
                transform=parts.evals.transform,
            )
            return activity.counted(watched(read, records, unread), len(records), size)

        return opened

    return run_probes(
        encoders,
        batches(train, "evals.train"),
        batches(test, "evals.test"),
        train.labels,
        {name: parts.evals.probes[name] for name in probes},
        seen=seen.features,
        stored=stored,
    )


def stored_step(workdir: Path) -> int | None:
    """Return the step that results.json is of; None where evaluations are missing or failed."""
    try:
        results = json.loads((workdir / RESULTS).read_text(encoding="utf-8"))
        return None if "failed" in results else results["step"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def stored_table(workdir: Path) -> str:
    """Return the table of a finished run."""
    return results_table(json.loads((workdir / RESULTS).read_text(encoding="utf-8")))


def metrics_line(metrics: Mapping[str, float]) -> str:
    """Return accuracies on one line, in percent."""
    return "  ".join(
        f"{name} {100 * value:.1f} %" for name, value in metrics.items() if "top1" in name
    )
