"""The notebooks: how they are built, that the committed ones are up to date, that each has the parts of a chapter."""

import base64
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book"))  # the build is a script of the book, not a part of the library

import build  # noqa: E402
from plain_markdown import Book, PlainMarkdown, read_book, read_references  # noqa: E402

NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))
notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=[str(path.relative_to(ROOT)) for path in NOTEBOOKS])

BIBTEX = """@article{dice1945,
  author = {Dice, Lee R.},
  title = {Measures of association},
  journal = {Ecology},
  year = {1945},
  doi = {10.2307/1932409},
}

@inproceedings{ronneberger2015,
  author = {Ronneberger, Olaf and Fischer, Philipp and Brox, Thomas},
  title = {{U-Net}: networks},
  booktitle = {MICCAI},
  year = {2015},
  url = {https://example.org/u-net},
}
"""

CHAPTER = '''---
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# 0. A tiny chapter

See {ref}`later`.

```{code-cell} ipython3
import os

print(os.environ["OMP_NUM_THREADS"], object())
1 + 1
```

+++

(later)=
## Later

```{code-cell} ipython3
:tags: [nbval-ignore-output]

import sys
import time

print(f"{time.time()} s left", file=sys.stderr)
print("done")
```

```{code-cell} ipython3
from IPython.display import display
from ipywidgets import IntSlider, Output

display(IntSlider(3))
caught = Output()
with caught:
    print("inside the widget")
print("beside the widget")
"a value that the semicolon hides";
```

```{code-cell} ipython3
def twice(number):
    """Return 2 × `number`."""
    ### BEGIN SOLUTION
    return 2 * number
    ### END SOLUTION
```

```{code-cell} ipython3
try:
    print(twice(21))
except NotImplementedError as error:
    print(error)
```
'''


@pytest.fixture
def book():
    return Book(ROOT / "book", read_references(BIBTEX), {"there": ("05_rules", "Leaks"), "here": ("00_tiny", "Look")})


@pytest.fixture
def convert(book):
    return PlainMarkdown("00_tiny", book).convert


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A folder with the source of a tiny chapter and its two executed notebooks."""
    folder = tmp_path_factory.mktemp("book")
    (folder / "chapters").mkdir()
    (folder / "chapters" / "00_tiny.md").write_text(CHAPTER, "utf-8")
    (folder / "references.bib").write_text(BIBTEX, "utf-8")
    build.build([folder / "chapters" / "00_tiny.md"], read_book(folder), folder / "notebooks")
    return folder


def check(folder):
    return build.check([folder / "chapters" / "00_tiny.md"], read_book(folder), folder / "notebooks")


def stored(folder, name="00_tiny.ipynb"):
    return nbformat.read(folder / "notebooks" / name, as_version=4)


def texts(notebook):
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return [output.get("text") or output.data["text/plain"] for output in outputs]


# MyST → Markdown


@pytest.mark.parametrize(
    ("myst", "markdown"),
    [
        ("a {term}`mask <masks>` and {term}`Dice`", "a mask and Dice"),
        ("{cite}`dice1945`", "([Dice 1945](https://doi.org/10.2307/1932409))"),
        ("{cite:t}`ronneberger2015`", "[Ronneberger et al. (2015)](https://example.org/u-net)"),
        ("{ref}`there`; {ref}`this <here>`", "[Leaks](05_rules.ipynb); this"),
        ("{math}`x^2`", "$x^2$"),
        ("(label)=\n## Heading\n% a comment\ntext", "## Heading\ntext"),
        ("`{cite}` and ``{term}`x` `` stay", "`{cite}` and ``{term}`x` `` stay"),
        ("```python\nf'{ref}`x`'\n```", "```python\nf'{ref}`x`'\n```"),
        (":::{note}\nSee {term}`Dice`.\n\nMore.\n:::\nafter", "> **Note**\n>\n> See Dice.\n>\n> More.\nafter"),
        ("```{warning} Hot.\n```", "> **Warning**\n>\n> Hot."),
        (":::{admonition} A {term}`Dice` of 1\n:class: tip\nGood.\n:::", "> **A Dice of 1**\n>\n> Good."),
        ("::::{note}\n:::{tip}\nin\n:::\n::::", "> **Note**\n>\n> > **Tip**\n> >\n> > in"),
        ("```{math}\n:label: eq\ns = 1\n```", "$$\ns = 1\n$$"),
        (
            "{cite}`dice1945`\n\n```{bibliography}\n```",
            "([Dice 1945](https://doi.org/10.2307/1932409))\n\n"
            "* Dice (1945). Measures of association. *Ecology*. <https://doi.org/10.2307/1932409>",
        ),
        (
            "{cite:t}`ronneberger2015,dice1945`\n\n```{bibliography}\n```",
            "[Ronneberger et al. (2015)](https://example.org/u-net) and "
            "[Dice (1945)](https://doi.org/10.2307/1932409)\n\n"
            "* Dice (1945). Measures of association. *Ecology*. <https://doi.org/10.2307/1932409>\n"
            "* Ronneberger, Fischer, Brox (2015). U-Net: networks. *MICCAI*. <https://example.org/u-net>",
        ),
    ],
)
def test_myst_becomes_markdown(convert, myst, markdown):
    assert convert(myst) == markdown


@pytest.mark.parametrize(
    ("myst", "message"),
    [
        ("{cite}`nobody1900`", "unknown reference 'nobody1900'"),
        ("{ref}`nowhere`", "unknown label 'nowhere'"),
        ("{sub}`2`", "unknown role {sub}"),
        ("```{mermaid}\n```", "unknown directive {mermaid}"),
        ("```{image} a.png\n```", "needs an :alt:"),
        ("```{note}\nno end", "no end found"),
    ],
)
def test_unknown_myst_is_an_error(convert, myst, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        convert(myst)


def test_picture_is_carried_in_the_notebook(tmp_path):
    (tmp_path / "chapters").mkdir()
    (tmp_path / "chapters" / "dot.png").write_bytes(b"not really a picture")
    plain = PlainMarkdown("00_tiny", Book(tmp_path, {}, {}))
    markdown = plain.convert("```{figure} dot.png\n:alt: A dot.\n\nThe caption.\n```")
    assert markdown == "![A dot.](attachment:dot.png)\n\nThe caption."
    assert list(plain.attachments["dot.png"]) == ["image/png"]


def test_labels_of_headings_and_figures(tmp_path):
    (tmp_path / "chapters").mkdir()
    (tmp_path / "references.bib").touch()
    (tmp_path / "chapters" / "03_files.md").write_text(
        "# 3. Files\n\n(bytes)=\n## The bytes\n\n(fig-a)=\n**Figure 3.1.** Bytes.\n"
    )
    assert read_book(tmp_path).labels == {
        "03_files": ("03_files", "3. Files"),
        "bytes": ("03_files", "The bytes"),
        "fig-a": ("03_files", "Figure 3.1"),
    }


# exercises


def test_solution_becomes_a_stub():
    function = "def f(x):\n    ### BEGIN SOLUTION\n    y = x\n\n    return y\n    ### END SOLUTION\n\nprint(f)"
    assert build.unsolved(function) == 'def f(x):\n    raise NotImplementedError("write your code here")\n\nprint(f)'
    value = "answer = None\n### BEGIN SOLUTION\nanswer = 3\n### END SOLUTION"
    assert build.unsolved(value) == "answer = None\n# write your code here"


@pytest.mark.parametrize("marker", ["### BEGIN SOLUTION", "### END SOLUTION"])
def test_half_a_solution_is_an_error(marker):
    with pytest.raises(ValueError, match="do not pair up"):
        build.unsolved(f"def f(x):\n    {marker}\n    return x")


# build


def test_cells_ids_and_metadata(tiny):
    for name in ("00_tiny.ipynb", "solutions/00_tiny.ipynb"):
        notebook = stored(tiny, name)
        nbformat.validate(notebook)
        assert [cell.id for cell in notebook.cells] == [f"00-{k}" for k in range(1, 8)] + ["00-license"]
        assert notebook.cells[0].source == "# 0. A tiny chapter\n\nSee Later."
        assert notebook.cells[-1].source == notebook.metadata.license
        assert notebook.metadata.kernelspec.name == "python3"
        assert notebook.metadata.title == "0. A tiny chapter"
        assert set(notebook.metadata) == {"kernelspec", "language_info", "license", "title"}
        assert "version" not in notebook.metadata.language_info


def test_outputs_are_kept_and_cleaned(tiny):
    counts = [cell.execution_count for cell in stored(tiny).cells if cell.cell_type == "code"]
    assert counts == [1, 2, 3, 4, 5]
    printed = "1 <object object at 0x...>\n", "2", "done\n", "IntSlider(value=3)", "beside the widget\n"
    assert texts(stored(tiny)) == [*printed, "write your code here\n"]
    assert texts(stored(tiny, "solutions/00_tiny.ipynb")) == [*printed, "42\n"]
    assert "widget-view" not in (tiny / "notebooks" / "00_tiny.ipynb").read_text("utf-8")


def png(array):
    """The picture as base64, in four channels as Matplotlib writes it."""
    rgb = array if array.ndim == 3 else np.repeat(array[..., None], 3, 2)
    opaque = np.full((*rgb.shape[:2], 1), 255, np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.concatenate([rgb, opaque], axis=2)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def pixels(stored_png):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(stored_png))).convert("RGB")).astype(int)


def test_figures_are_stored_in_fewer_bytes_and_look_the_same():
    rng = np.random.default_rng(0)
    gray = rng.integers(0, 256, (64, 96), np.uint8)
    few = rng.integers(0, 256, (200, 3), np.uint8)[rng.integers(0, 200, (64, 96))]
    photograph = rng.integers(0, 256, (64, 96, 3), np.uint8)
    for picture, at_most in ((gray, 0.7), (few, 0.7), (photograph, 1.0)):
        before = png(picture)
        after = build.smaller(before)
        np.testing.assert_array_equal(pixels(after), pixels(before))  # none of them loses anything
        assert len(after) < at_most * len(before)
        assert build.smaller(after) == after
    ramp = np.linspace(0, 1, 96)[:, None] * np.array([250.0, 120.0, 30.0])
    shades = np.rint(np.repeat(ramp[None], 64, 0) + rng.integers(0, 4, (64, 96, 1))).clip(0, 255).astype(np.uint8)
    error = abs(pixels(build.smaller(png(shades))) - shades)
    assert error.max(axis=2).mean() < 1


def test_second_build_writes_the_same_bytes(tiny, tmp_path):
    build.build([tiny / "chapters" / "00_tiny.md"], read_book(tiny), tmp_path)
    for name in ("00_tiny.ipynb", "solutions/00_tiny.ipynb"):
        assert (tmp_path / name).read_bytes() == (tiny / "notebooks" / name).read_bytes()


def test_a_change_of_text_keeps_the_outputs_and_a_change_of_code_does_not(tiny, tmp_path):
    folder = shutil.copytree(tiny, tmp_path / "book")
    source, notebooks = folder / "chapters" / "00_tiny.md", folder / "notebooks"
    source.write_text(CHAPTER.replace("A tiny chapter", "A small chapter"), "utf-8")
    build.build([source], read_book(folder), notebooks, text_only=True)
    assert stored(folder).cells[0].source.startswith("# 0. A small chapter")
    assert texts(stored(folder)) == texts(stored(tiny))
    assert check(folder) == []
    source.write_text(CHAPTER.replace("1 + 1", "1 + 2"), "utf-8")
    with pytest.raises(ValueError, match="without --text"):
        build.build([source], read_book(folder), notebooks, text_only=True)


def test_check_accepts_what_was_built(tiny):
    assert check(tiny) == []


def _edit_source(notebook):
    notebook.cells[0].source += "!"


def _edit_code(notebook):
    notebook.cells[1].source = "print(2)"


def _edit_tags(notebook):
    notebook.cells[1].metadata.tags = ["nbval-skip"]


def _edit_metadata(notebook):
    notebook.metadata.title = "another"


def _renumber(notebook):
    notebook.cells[1].id = "00-77"


def _remove_cell(notebook):
    del notebook.cells[-2]


def _never_executed(notebook):
    notebook.cells[1].execution_count, notebook.cells[1].outputs = None, []


def _failed(notebook):
    notebook.cells[1].outputs = [nbformat.v4.new_output("error", ename="ValueError", evalue="", traceback=[])]


def _warned(notebook):
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", name="stderr", text="UserWarning")]


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (_edit_source, "cell 00-1: source differ"),
        (_edit_code, "cell 00-2: source differ"),
        (_edit_tags, "cell 00-2: metadata differ"),
        (_edit_metadata, "its metadata differ"),
        (_renumber, "cell 00-2: id differ"),
        (_remove_cell, "it has 7 cells, the source 8"),
        (_never_executed, "cell 00-2 was not executed in order: its count is None, not 1"),
        (_failed, "cell 00-2 ended in an error"),
        (_warned, "cell 00-2 ended in an error or wrote to stderr"),
    ],
)
def test_check_finds(tiny, edit, problem):
    notebook = stored(tiny)
    edit(notebook)
    fresh = build.make_notebook(tiny / "chapters" / "00_tiny.md", read_book(tiny), solved=False)
    assert any(problem in found for found in build.problems(fresh, notebook))


def test_check_finds_missing_and_orphaned_notebooks(tiny, tmp_path):
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "99_old.ipynb")
    found = build.check([tiny / "chapters" / "00_tiny.md"], read_book(tiny), tmp_path)
    assert [problem.removeprefix(f"{tmp_path}/") for problem in found] == [
        "99_old.ipynb has no source",
        "00_tiny.ipynb does not exist",
        "solutions/00_tiny.ipynb does not exist",
    ]


def test_a_chapter_that_fails_is_not_written(tmp_path, book):
    source = tmp_path / "00_bad.md"
    source.write_text("# 0. Bad\n\n```{code-cell}\n1 / 0\n```\n", "utf-8")
    with pytest.raises(Exception, match="ZeroDivisionError"):
        build.build([source], book, tmp_path / "notebooks")
    assert not list((tmp_path / "notebooks").rglob("*.ipynb"))


# nbval, with the root conftest.py


def nbval(path):
    shutil.copy(ROOT / "conftest.py", path)  # pytest reads it from the folder of what it is asked to run
    options = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=60", "-p", "no:cacheprovider"]
    sanitize = ["--nbval-sanitize-with", str(ROOT / "tests" / "nbval_sanitize.cfg")]
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), *options, *sanitize, str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_nbval_accepts_what_was_built(tiny):
    run = nbval(tiny / "notebooks")
    assert run.returncode == 0, run.stdout
    assert "10 passed" in run.stdout  # two notebooks of five code cells


def test_nbval_notices_another_output_and_errors_inside_widgets(tiny, tmp_path):
    notebook = stored(tiny)
    notebook.cells[1].outputs[1].data["text/plain"] = "3"
    notebook.cells[4].source = notebook.cells[4].source.replace('print("inside the widget")', "1 / 0")
    nbformat.write(notebook, tmp_path / "changed.ipynb")
    run = nbval(tmp_path)
    assert run.returncode == 1
    assert "2 failed, 3 passed" in run.stdout
    assert "ZeroDivisionError" in run.stdout


# the committed notebooks


def test_notebooks_are_what_their_sources_say():
    sources = sorted(build.CHAPTERS.glob("*.md"))
    assert sources
    assert build.check(sources, read_book(build.BOOK)) == []


def test_every_reference_can_be_found():
    for key, reference in read_references((ROOT / "book" / "references.bib").read_text("utf-8")).items():
        assert {"author", "title", "year"} <= set(reference), key
        assert "doi" in reference or "url" in reference, key


@notebooks
def test_size(path):
    assert path.stat().st_size <= 2_000_000, "make its figures smaller: pictures in gray, fewer inches"


@notebooks
def test_skeleton(path):
    cells = nbformat.read(path, as_version=4).cells
    markdown = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    number = path.stem.split("_")[0].removeprefix("0")
    assert cells[0].source.startswith(f"# {number}. ")
    headings = re.findall(r"^## (.+)$", markdown, re.M)
    assert headings[:3] == ["What you will be able to do", "What you need", "Time"]
    assert headings[-4:] == ["Summary", "Exercises", "Quiz", "Further reading"]
    assert len(headings) > 7, "there is no text between the time and the summary"

    exercises = re.findall(r"^### Exercise (\S+) · \S", markdown, re.M)
    assert len(exercises) >= 3
    assert exercises == [f"{number}.{k}" for k in range(1, len(exercises) + 1)]
    answers = [output.get("text", "") for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    verdicts = re.findall(r"^Exercise (\S+): (not solved yet|right!)", "\n".join(answers), re.M)
    solved = path.parent.name == "solutions"
    assert verdicts == [(exercise, "right!" if solved else "not solved yet") for exercise in exercises]

    reading = markdown.split("## Further reading")[1]
    assert len(re.findall(r"https?://", reading)) >= 3


@notebooks
def test_quiz_explains_every_answer(path):
    cells = nbformat.read(path, as_version=4).cells
    quiz = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown").split("## Quiz")[1]
    questions = re.split(r"^\*\*Question (\d+)\.\*\*", quiz.split("## Further reading")[0], flags=re.M)[1:]
    numbers, texts_ = questions[::2], questions[1::2]
    assert numbers == [str(k) for k in range(1, len(numbers) + 1)]
    assert len(numbers) >= 5
    option = re.compile(
        r"<details>\n<summary>[^<\n]+</summary>\n\n\*\*(Right|No)\.\*\* (\S.{20,}?)\n\n</details>", re.S
    )
    for text in texts_:
        verdicts = [verdict for verdict, _ in option.findall(text)]
        assert verdicts.count("Right") == 1
        assert len(verdicts) == text.count("<details>") >= 2


@notebooks
def test_figures_are_described(path):
    cells, number = nbformat.read(path, as_version=4).cells, path.stem.split("_")[0].removeprefix("0")
    pictures = [
        k for k, cell in enumerate(cells) if any("image/png" in o.get("data", {}) for o in cell.get("outputs", []))
    ]
    captions = [cells[k + 1].source for k in pictures]
    for k, caption in enumerate(captions, start=1):
        assert re.match(rf"\*\*Figure {number}\.{k}\.\*\* \S.{{60,}}", caption, re.S), (
            f"cell {cells[pictures[k - 1]].id}"
        )
