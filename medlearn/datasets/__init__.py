"""Data sets: fetching open ones, and folders of images as lazy sequences of cases."""

from .download import DownloadError, available, data_folder, fetch, fetched
from .layouts import Cases, cases

__all__ = ["Cases", "DownloadError", "available", "cases", "data_folder", "fetch", "fetched"]
