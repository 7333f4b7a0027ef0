"""`RUN/report.html`: a run in one file that a browser opens from the disk, with no script and no request.

`findings` says what is worth looking at, `charts` and `thumbnails` draw it, `page` puts it together. What may change
here: what is shown. What may not: every figure is the exported bundle's, and nothing is fetched.
"""

from training.report.page import REPORT_NAME, RunRecord, draw_report, read_metrics, write_page

__all__ = ["REPORT_NAME", "RunRecord", "draw_report", "read_metrics", "write_page"]
