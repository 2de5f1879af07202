"""Build the notebooks of the course from their sources.

    python book/build.py            every chapter
    python book/build.py 00 02a     these chapters
    python book/build.py --text 00  only text was changed: keep the outputs, execute nothing
    python book/build.py --check    compare the committed notebooks with their sources; execute nothing

``book/chapters/NN_topic.md`` (MyST Markdown, read by jupytext) becomes ``notebooks/NN_topic.ipynb``, in which the
exercises wait to be solved, and ``notebooks/solutions/NN_topic.ipynb``, in which they are. Both are executed and keep
their outputs. Two builds in the same environment write the same bytes, so a diff shows what an author changed.

Notebooks run in the folder they are stored in, because that is where nbval and JupyterLab run them. A chapter
therefore writes its files into a temporary folder and reads none by a relative path.
"""

import argparse
import base64
import io
import os
import re
import sys
import time
from pathlib import Path

import jupytext
import nbformat
import numpy as np
from nbclient import NotebookClient
from PIL import Image
from plain_markdown import Book, PlainMarkdown, read_book, title

BOOK = Path(__file__).resolve().parent
CHAPTERS = BOOK / "chapters"
NOTEBOOKS = BOOK.parent / "notebooks"
LICENSE = "Text and figures: CC BY 4.0. Code: Apache-2.0."
MYST = {"extension": ".md", "format_name": "myst"}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # as in `make test`; sums depend on the thread count

SOLUTION = re.compile(r"^( *)### BEGIN SOLUTION\n.*?^ *### END SOLUTION$", re.M | re.S)


def unsolved(source: str) -> str:
    """`source` with the solution replaced by a stub, which still lets the notebook run from top to bottom."""
    stub = SOLUTION.sub(
        lambda m: m[1] + ('raise NotImplementedError("write your code here")' if m[1] else "# write your code here"),
        source,
    )
    if "### BEGIN SOLUTION" in stub or "### END SOLUTION" in stub:
        raise ValueError(f"BEGIN SOLUTION and END SOLUTION do not pair up in\n{source}")
    return stub


def make_notebook(source: Path, book: Book, *, solved: bool) -> nbformat.NotebookNode:
    """The notebook of one chapter, not yet executed."""
    number, plain = source.stem.split("_")[0], PlainMarkdown(source.stem, book)
    notebook = jupytext.reads(source.read_text("utf-8"), fmt=MYST)
    for k, cell in enumerate(notebook.cells, start=1):
        cell.id = f"{number}-{k}"
        if cell.cell_type == "markdown":
            plain.attachments = {}
            cell.source = plain.convert(cell.source)
            if plain.attachments:
                cell.attachments = plain.attachments
        elif not solved:
            cell.source = unsolved(cell.source)
    notebook.cells.append(nbformat.v4.new_markdown_cell(LICENSE, id=f"{number}-license"))
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
            "license": LICENSE,
            "title": title(notebook.cells[0].source),
        }
    )
    notebook.nbformat_minor = 5  # the first with cell ids
    return notebook


def execute(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Run every cell in `folder` on one thread, keep the outputs and clean them."""
    metadata = notebook.metadata.copy()
    client = NotebookClient(
        notebook, timeout=600, kernel_name="python3", record_timing=False, coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )  # fmt: skip
    client.execute(env=os.environ | ONE_THREAD)
    notebook.metadata = metadata  # drops the Python version and the widgets' state, whose ids are random
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [clean(output) for output in cell.outputs if not is_progress(output, cell)]
            cell.metadata.pop("execution", None)


def is_progress(output: nbformat.NotebookNode, cell: nbformat.NotebookNode) -> bool:
    """Whether this is the clock-dependent progress of a cell that is marked as varying; it is not stored."""
    live = output.get("name") == "stderr" or output.get("metadata", {}).get("medlearn") == "live curves"
    return live and "nbval-ignore-output" in cell.metadata.get("tags", [])


def clean(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Remove what changes from run to run: ids of widgets and addresses in memory. Store figures in fewer bytes."""
    if "data" in output:
        output.data.pop("application/vnd.jupyter.widget-view+json", None)
        if "image/png" in output.data:
            output.data["image/png"] = smaller(output.data["image/png"])
        if "text/plain" in output.data:
            output.data["text/plain"] = without_addresses(output.data["text/plain"])
    if "text" in output:
        output.text = without_addresses(output.text)
    return output


def smaller(png: str) -> str:
    """`png` (base64) in fewer bytes if possible, so that a notebook keeps below its 2 MB.

    Matplotlib writes four channels. A gray figure needs one. A figure of few colors needs one and a palette of 256,
    if nobody sees the difference: less than a level on average, 24 levels in all but a thousandth of its pixels.
    Photographs are not of that kind; they keep three channels.
    """
    before = base64.b64decode(png)
    picture = Image.open(io.BytesIO(before))
    if picture.mode != "P":
        colors = np.asarray(picture.convert("RGBA"))
        if (colors[..., 3] < 255).any():
            return png
        picture = Image.fromarray(colors[..., :3])
        if (colors[..., :3] == colors[..., :1]).all():
            picture = picture.convert("L")
        else:
            few = picture.quantize(256, method=Image.Quantize.MEDIANCUT, kmeans=2, dither=Image.Dither.NONE)
            error = abs(np.asarray(few.convert("RGB")).astype(int) - colors[..., :3]).max(axis=2)
            if error.mean() < 1 and np.percentile(error, 99.9) <= 24:
                picture = few
    after = io.BytesIO()
    picture.save(after, "PNG", optimize=True)
    return base64.b64encode(after.getvalue()).decode() if len(after.getvalue()) < len(before) else png


def without_addresses(text: str) -> str:
    """`text` with memory addresses replaced, as ``tests/nbval_sanitize.cfg`` does when nbval compares."""
    return re.sub(r"0x[0-9a-f]{8,}", "0x...", text)


def problems(built: nbformat.NotebookNode, committed: nbformat.NotebookNode) -> list[str]:
    """In what a committed notebook differs from its source, and which of its cells did not run."""
    found = []
    if built.metadata != committed.metadata:
        found.append("its metadata differ from the source's")
    if len(built.cells) != len(committed.cells):
        found.append(f"it has {len(committed.cells)} cells, the source {len(built.cells)}")
    for new, old in zip(built.cells, committed.cells, strict=False):
        differs = [
            key for key in ("id", "cell_type", "source", "metadata", "attachments") if new.get(key) != old.get(key)
        ]
        if differs:
            found.append(f"cell {new.id}: {', '.join(differs)} differ from the source")
    code = [cell for cell in committed.cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, start=1):
        if cell.execution_count != count:
            found.append(f"cell {cell.id} was not executed in order: its count is {cell.execution_count}, not {count}")
        if any(output.output_type == "error" or output.get("name") == "stderr" for output in cell.outputs):
            found.append(f"cell {cell.id} ended in an error or wrote to stderr")
    return found


def check(sources: list[Path], book: Book, notebooks: Path = NOTEBOOKS) -> list[str]:
    """Every way in which the notebooks are out of step with `sources`; empty if there is none."""
    chapters = {path.name for path in book.folder.glob("chapters/*.md")}
    found = [f"{path} has no source" for path in notebooks.rglob("*.ipynb") if f"{path.stem}.md" not in chapters]
    for source, folder, solved in versions(sources, notebooks):
        path = folder / f"{source.stem}.ipynb"
        if not path.exists():
            found.append(f"{path} does not exist")
            continue
        notebook = make_notebook(source, book, solved=solved)
        found += [f"{path}: {problem}" for problem in problems(notebook, nbformat.read(path, as_version=4))]
    return found


def versions(sources: list[Path], notebooks: Path):
    """(source, folder, solved) of both notebooks of every chapter."""
    return [(s, notebooks / "solutions" if solved else notebooks, solved) for s in sources for solved in (False, True)]


def keep_outputs(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Take over the outputs of the notebook in `path`; raise ValueError if other code was executed there."""
    before = {cell.id: cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"}
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if [(cell.id, cell.source) for cell in code] != [(cell.id, cell.source) for cell in before.values()]:
        raise ValueError(f"{path}: the code changed, too; build it without --text")
    for cell in code:
        cell.outputs = [clean(output) for output in before[cell.id].outputs]
        cell.execution_count = before[cell.id].execution_count


def build(sources: list[Path], book: Book, notebooks: Path = NOTEBOOKS, *, text_only: bool = False) -> None:
    """Write both notebooks of every chapter."""
    for source, folder, solved in versions(sources, notebooks):
        notebook, path = make_notebook(source, book, solved=solved), folder / f"{source.stem}.ipynb"
        folder.mkdir(parents=True, exist_ok=True)
        start = time.monotonic()
        if text_only:
            keep_outputs(notebook, path)
        else:
            execute(notebook, folder)
        nbformat.write(notebook, path)
        print(f"{folder / source.stem}.ipynb: {len(notebook.cells)} cells, {time.monotonic() - start:.0f} s")


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "chapters", nargs="*", metavar="NN", help="numbers of chapters, such as 00 or 02a; default: all"
    )
    parser.add_argument("--check", action="store_true", help="compare the committed notebooks with their sources")
    parser.add_argument("--text", action="store_true", help="keep the outputs, because no code was changed")
    options = parser.parse_args(arguments)
    sources = sorted(CHAPTERS.glob("*.md"))
    numbers = {path.stem.split("_")[0]: path for path in sources}
    if unknown := set(options.chapters) - set(numbers):
        parser.error(f"no chapter {', '.join(sorted(unknown))}; there are {', '.join(numbers)}")
    chosen = [numbers[number] for number in options.chapters] or sources
    book = read_book(BOOK)
    if options.check:
        found = check(chosen, book)
        print("\n".join(found) or f"{len(chosen)} chapters: the notebooks are what their sources say")
        return bool(found)
    build(chosen, book, text_only=options.text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
