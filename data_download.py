"""Fetch open data sets: python data_download.py --list | NAME ... [--accept-terms] [--folder FOLDER].

A thin door to `medlearn.datasets`. Without --accept-terms it shows the terms of a data set and downloads nothing.
"""

import argparse
import sys

try:
    from medlearn.datasets import available, data_folder, fetch
except ModuleNotFoundError as error:
    sys.exit(f"{error}. `make lab` installs everything into .venv; then run .venv/bin/python data_download.py")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return 0, or 1 if a data set could not be fetched."""
    parser = argparse.ArgumentParser(description="Fetch open data sets of medical images.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="data sets to fetch")
    parser.add_argument("--list", action="store_true", help="show what there is (also without any NAME)")
    parser.add_argument("--accept-terms", action="store_true", help="I have read the terms and accept them")
    parser.add_argument("--accept-unverified", action="store_true", help="take files whose hash nobody has published")
    parser.add_argument("--folder", help="where data lie (default: MEDLEARN_DATA, or the user's cache folder)")
    options = parser.parse_args(arguments)
    if options.list or not options.names:
        show_list(options.folder)
    try:
        return max([fetch_one(name, options) for name in options.names], default=0)
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130


def show_list(folder: str | None) -> None:
    """Print the names, and which of them are there."""
    print(f"Data lie in {data_folder(folder)}. * = fetched")
    for name, entry in available(folder).iterrows():
        print(f"{'*' if entry.fetched else ' '} {name:<24} {entry.title} [hash: {entry.verified}]")


def fetch_one(name: str, options: argparse.Namespace) -> int:
    """Fetch a data set and print where it is, or why it is not."""
    try:
        path = fetch(
            name,
            accept_terms=options.accept_terms,
            accept_unverified=options.accept_unverified,
            folder=options.folder,
        )
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{name} is in {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
