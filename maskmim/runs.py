"""List runs: how far each is, its loss and its evaluations; or compare some in one picture.

examples:
  python -m maskmim.runs runs/
  python -m maskmim.runs runs/ --sort knn/fine/top1
  python -m maskmim.runs runs/ --columns step,state,loss,mask.ratio,optim.lr --sort mask.ratio
  python -m maskmim.runs runs/ --csv > runs.csv
  python -m maskmim.runs --compare comparison.png runs/a runs/b runs/c

Every folder in and below those given that a training has written into is a run. A column is name,
method, step, state or loss, the name of an evaluation (knn/fine/top1), a metric of training
(grad_norm), or a key of the config (mask.ratio). Accuracies are shown in percent; the loss is the
last one logged. Runs may train meanwhile: nothing is written but the picture.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from maskmim import errors
from maskmim.config.command_line import Parser, path
from maskmim.files import save_png
from maskmim.reporting.runs.columns import evaluations, sort_runs, unknown
from maskmim.reporting.runs.differences import difference_table
from maskmim.reporting.runs.find import find_runs
from maskmim.reporting.runs.summary import RunSummary
from maskmim.reporting.runs.table import WIDTH, csv_text, json_text, text_table
from maskmim.runtime import exits

NARROWEST = 60


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = _parser().parse_args(argv)
    columns = [name for name in options.columns.split(",") if name]
    picture = path(options.compare) if options.compare else None
    if picture is not None:
        check_picture(picture)
    if not options.folders:
        raise errors.UserError("give folders of runs, such as runs/: --help shows the use")
    runs = find_runs(options.folders)
    runs = sort_runs(runs, options.sort, reverse=options.reverse)
    if options.json or options.csv:
        text = json_text(runs, columns) if options.json else csv_text(runs, columns)
        print(text, end="")
    else:
        width = max(NARROWEST, min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns))
        print(text_table(runs, columns, width))
        if picture is not None:
            compare(runs, columns, picture, width)
    for sentence in unknown(runs, [options.sort, *columns]):
        exits.print_stderr(sentence)
    return errors.DONE


def check_picture(picture: Path) -> None:
    """Raise UserError where a path is not one of a picture to write."""
    if picture.suffix.lower() != ".png" or picture.is_dir():
        raise errors.UserError(
            f"--compare {picture}: give the picture to write first, as in "
            "--compare comparison.png runs/a runs/b"
        )


def compare(runs: Sequence[RunSummary], columns: Sequence[str], picture: Path, width: int) -> None:
    """Print in which config keys runs differ, and write the picture of their numbers."""
    if len(runs) < 2:
        raise errors.UserError(f"--compare takes two runs or more; there is only {runs[0].name}")
    from maskmim.reporting.runs.picture import draw_runs  # matplotlib, which takes a second

    known = evaluations(runs)
    save_png(picture, draw_runs(runs, [c for c in columns if c in known] or known))
    print(f"\n{difference_table(runs, width)}\n\nThe picture is {picture}")


def _parser() -> Parser:
    parser = Parser(description=__doc__)
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help="runs, or folders of runs")
    parser.add_argument(
        "--sort",
        default="name",
        metavar="COLUMN",
        help="evaluations the best first, else the lowest first; runs without a value last; "
        "default: name",
    )
    parser.add_argument("--reverse", action="store_true", help="the other way round")
    parser.add_argument(
        "--columns",
        default="",
        metavar="NAMES",
        help="columns with commas between; default: what fits the width",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON, numbers in full")
    form.add_argument("--csv", action="store_true", help="print CSV, numbers in full")
    form.add_argument(
        "--compare",
        default="",
        metavar="OUT.png",
        help="write one picture of loss curves and evaluations, print the config keys that differ",
    )
    return parser


if __name__ == "__main__":
    sys.exit(exits.run(main))
