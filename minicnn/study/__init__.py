"""Studies of options: many runs, chosen by a grid, at random or by what earlier ones showed (docs/studies.md)."""

from minicnn.study.space import Choice, Range, Space
from minicnn.study.study import PRUNERS, SAMPLERS, Study, StudyArgs
from minicnn.study.table import Row, draw, lines_of, rows_of, write_csv

__all__ = [
    "PRUNERS",
    "SAMPLERS",
    "Choice",
    "Range",
    "Row",
    "Space",
    "Study",
    "StudyArgs",
    "draw",
    "lines_of",
    "rows_of",
    "write_csv",
]
