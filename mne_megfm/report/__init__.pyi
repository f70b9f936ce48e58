from ._report import (
    MEGFMReport as MEGFMReport,
    make_report as make_report,
)
