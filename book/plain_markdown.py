"""MyST Markdown, as the chapters are written in, turned into Markdown that every notebook viewer shows."""

import base64
import mimetypes
import re
from dataclasses import dataclass
from pathlib import Path

LABEL = re.compile(r"^\(([\w-]+)\)=\n+(?:#+ (?P<heading>.+)|\*\*(?P<caption>\w+ [\w.]+\w)\.)", re.M)
FENCE = re.compile(r"^ *(?P<fence>`{3,}|:{3,})(?:\{(?P<name>[\w:-]+)\})? *(?P<argument>.*)$")
ROLE = re.compile(r"(?<!`)\{(?P<name>[a-z:-]+)\}`(?P<text>[^`]+)`|(?P<code>`+)(?!`).+?(?<!`)(?P=code)(?!`)", re.S)
ADMONITIONS = ("note", "tip", "hint", "important", "warning", "caution", "danger", "seealso", "admonition")


@dataclass
class Book:
    """What a chapter can refer to: `references` by key, and the `labels` of all chapters as (file stem, text)."""

    folder: Path
    references: dict[str, dict[str, str]]
    labels: dict[str, tuple[str, str]]


def read_book(folder: Path) -> Book:
    """Collect the bibliography and the labels of every chapter of the book in `folder`."""
    labels = {}
    for path in sorted((folder / "chapters").glob("*.md")):
        text = path.read_text("utf-8")
        labels[path.stem] = (path.stem, title(text))
        labels |= {m[1]: (path.stem, m["heading"] or m["caption"]) for m in LABEL.finditer(text)}
    return Book(folder, read_references((folder / "references.bib").read_text("utf-8")), labels)


def title(markdown: str) -> str:
    """The first heading of level 1."""
    heading = re.search(r"^# (.+)$", markdown, re.M)
    if not heading:
        raise ValueError(f"no title (a line '# ...') found in the text that begins {markdown[:60]!r}")
    return heading[1]


def read_references(bibtex: str) -> dict[str, dict[str, str]]:
    """Entries of a BibTeX file whose fields stand one a line as ``name = {value},``, by key."""
    entries = re.findall(r"^@\w+\{([\w:-]+),\n(.*?)^\}", bibtex, re.M | re.S)
    return {key: dict(re.findall(r"^ *(\w+) *= *\{(.*)\},?$", body, re.M)) for key, body in entries}


def authors(reference: dict[str, str]) -> list[str]:
    """Family names of the authors of a reference."""
    return [name.split(",")[0].strip("{} ") for name in reference["author"].split(" and ")]


def cite(reference: dict[str, str], textual: bool) -> str:
    """A citation as a link: Litjens et al. 2014, or with the year in brackets in running text."""
    names = authors(reference)
    who = f"{names[0]} et al." if len(names) > 2 else " and ".join(names)
    year = f"({reference['year']})" if textual else reference["year"]
    return f"[{who} {year}]({url(reference)})"


def url(reference: dict[str, str]) -> str:
    """Where a reference can be read."""
    return f"https://doi.org/{reference['doi']}" if "doi" in reference else reference["url"]


def bibliography_entry(reference: dict[str, str]) -> str:
    """One line of the list of references."""
    names = authors(reference)
    who = ", ".join(names) if len(names) <= 3 else f"{names[0]} et al."
    what = reference["title"].translate({ord("{"): None, ord("}"): None})  # braces keep capitals in BibTeX
    where = reference.get("journal") or reference.get("booktitle") or reference["publisher"]
    return f"* {who} ({reference['year']}). {what}. *{where}*. <{url(reference)}>"


class PlainMarkdown:
    """Turns the MyST of one chapter into Markdown that JupyterLab, GitHub and Colab show alike.

    Anything it does not know is an error: no reader should ever meet a raw ``{role}``.
    """

    def __init__(self, stem: str, book: Book):
        self.stem, self.book = stem, book
        self.cited: list[str] = []
        self.attachments: dict[str, dict[str, str]] = {}

    def convert(self, text: str) -> str:
        """Convert one Markdown cell, or the body of a directive."""
        lines, result, prose, i = text.split("\n"), [], [], 0
        while i < len(lines):
            opening = FENCE.match(lines[i])
            if not opening:
                prose.append(lines[i])
                i += 1
                continue
            end = next((j for j in range(i + 1, len(lines)) if closes(lines[j], opening["fence"])), None)
            if end is None:
                raise ValueError(f"{self.stem}: no end found for {lines[i]!r}")
            result.append(self.prose(prose))
            body = lines[i + 1 : end]
            result.append(self.directive(opening, body) if opening["name"] else "\n".join(lines[i : end + 1]))
            prose, i = [], end + 1
        result.append(self.prose(prose))
        return "\n".join(part for part in result if part is not None)

    def prose(self, lines: list[str]) -> str | None:
        """Replace the roles of consecutive lines; drop labels and comments."""
        kept = "\n".join(line for line in lines if not re.match(r"\([\w-]+\)=$|% ", line))
        return ROLE.sub(lambda m: m[0] if m["code"] else self.role(m["name"], m["text"]), kept) if lines else None

    def role(self, name: str, text: str) -> str:
        """The Markdown of one role."""
        shown, target = re.fullmatch(r"(.*?)(?:\s*<([^<>]+)>)?", text, re.S).groups()
        if name == "term":
            return shown
        if name == "math":
            return f"${text}$"
        if name in ("cite", "cite:p", "cite:t"):
            keys = [key.strip() for key in text.split(",")]
            self.cited += [key for key in keys if key not in self.cited]
            links = [cite(self.look_up("reference", self.book.references, key), name == "cite:t") for key in keys]
            return " and ".join(links) if name == "cite:t" else f"({'; '.join(links)})"
        if name in ("ref", "numref", "doc"):
            stem, heading = self.look_up("label", self.book.labels, target or shown)
            shown = shown if target else heading
            return shown if stem == self.stem else f"[{shown}]({stem}.ipynb)"
        raise ValueError(f"{self.stem}: unknown role {{{name}}}`{text}`")

    def look_up(self, kind: str, table: dict, key: str):
        """``table[key]``, or an error that names the chapter."""
        if key not in table:
            raise ValueError(f"{self.stem}: unknown {kind} {key!r}")
        return table[key]

    def directive(self, opening: re.Match, body: list[str]) -> str:
        """The Markdown of one directive."""
        name, argument = opening["name"], opening["argument"].strip()
        options = {}
        while body and (option := re.match(r":([\w-]+): *(.*)$", body[0])):
            options[option[1]] = option[2]
            body = body[1:]
        text = "\n".join(body).strip("\n")
        if name in ADMONITIONS:
            title = argument if name == "admonition" else name.replace("seealso", "see also").capitalize()
            text = text if name == "admonition" else f"{argument}\n{text}".strip()  # a note may start on its first line
            quoted = f"**{title}**\n\n{text}"
            return "\n".join(f"> {line}".rstrip() for line in self.convert(quoted).split("\n"))
        if name == "math":
            return f"$$\n{text}\n$$"
        if name in ("figure", "image"):
            if not options.get("alt"):
                raise ValueError(f"{self.stem}: the {name} {argument} needs an :alt: text")
            caption = f"\n\n{self.convert(text)}" if text else ""
            return f"![{options['alt']}](attachment:{self.attach(argument)}){caption}"
        if name == "bibliography":
            cited = sorted((self.book.references[key] for key in self.cited), key=lambda r: (authors(r), r["year"]))
            return "\n".join(map(bibliography_entry, cited))
        raise ValueError(f"{self.stem}: unknown directive {{{name}}}")

    def attach(self, file: str) -> str:
        """Put a picture into the notebook itself: a copy of the notebook then still shows it."""
        path = self.book.folder / "chapters" / file
        self.attachments[path.name] = {mimetypes.guess_type(file)[0]: base64.b64encode(path.read_bytes()).decode()}
        return path.name


def closes(line: str, fence: str) -> bool:
    """Whether `line` ends the block that `fence` opened."""
    line = line.strip()
    return len(line) >= len(fence) and set(line) == {fence[0]}
