"""How well predictions agree with their references: tables, and a page to read in a browser."""

from .cases import Predictions, WorstCase, evaluate_cases, worst_cases
from .files import read_table, write_report
from .tables import compare_tables, failures, summarize
from .text import format_report

__all__ = [
    "Predictions",
    "WorstCase",
    "compare_tables",
    "evaluate_cases",
    "failures",
    "format_report",
    "read_table",
    "summarize",
    "worst_cases",
    "write_report",
]
