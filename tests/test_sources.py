"""Tests of rules for the source files themselves."""

import ast
import io
import re
import subprocess
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("mne_megfm", "tests", "tools", "examples", "benchmarks", "doc")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
PACKAGE = [path for path in SOURCES if path.is_relative_to(ROOT / "mne_megfm")]


def _id(path):
    return path.relative_to(ROOT).as_posix()


def _texts():
    """Yield the text files of the repository."""
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("Not a git repository")
    for name in filter(None, done.stdout.split("\0")):
        path = ROOT / name
        if path.is_file() and path.suffix not in {".safetensors", ".png"}:
            yield path, path.read_text("utf-8")


@pytest.mark.parametrize(
    "path", [path for path in PACKAGE if path.stem != "testing"], ids=_id
)
def test_loads_no_pickles(path):
    """Nothing that can run code is loaded from files: no pickle, no torch.load.

    Checks of plug-ins, which pickle in memory what they have made, may do it.
    """
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute):
            names = {ast.unparse(node)}
        elif isinstance(node, ast.keyword):
            names = {f"{node.arg}={ast.unparse(node.value)}"}
        else:
            continue
        for name in names:
            assert not re.match(
                r"(c?pickle|cloudpickle|dill|shelve)\b"
                r"|(torch|joblib)\.load$|allow_pickle=True",
                name,
            ), f"line {node.lineno}: {name}"


def _private_modules(path):
    """Yield the private modules of the package that a file imports."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            *folder, last = name.split(".")
            if folder[:1] != ["mne_megfm"]:
                continue
            private = [part for part in folder if part.startswith("_")]
            file = ROOT.joinpath(*folder, f"{last}.py")
            if private or (last.startswith("_") and file.is_file()):
                yield node.lineno, name


#: Not those of maintainers, in tools, which are built of the simulator's parts.
USES_PUBLIC_PARTS = {"tests", "examples", "benchmarks", "doc"}


@pytest.mark.parametrize(
    "path",
    [path for path in SOURCES if _id(path).partition("/")[0] in USES_PUBLIC_PARTS],
    ids=_id,
)
def test_private_modules_are_tested_in_their_place(path):
    """Outside the package, only tests in the same place of the tree know them."""
    place = path.parent.relative_to(ROOT).parts
    for line, name in _private_modules(path):
        own = place[0] == "tests" and name.split(".")[1 : len(place)] == [*place[1:]]
        assert own and len(place) > 1, f"line {line}: {name}"


@pytest.mark.parametrize("path", PACKAGE, ids=_id)
def test_no_bare_assert(path):
    """Checks of what users give are errors with words, also under ``python -O``."""
    tree = ast.parse(path.read_text("utf-8"))
    lines = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    assert not lines


def test_no_machine_paths():
    """No file names a folder of somebody's machine."""
    roots = "|".join(("work", "home/[a-z]", "Users/[a-z]", "tmp", "opt", "root"))
    pattern = re.compile(rf"(?<![\w.~$}})*/-])/(?:{roots})(?:/|\b)")
    found = [
        f"{_id(path)}:{number}: {line.strip()}"
        for path, text in _texts()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, "\n".join(found)


def test_text_files_are_clean():
    """Text files end with one newline and have no trailing blanks or tabs."""
    for path, text in _texts():
        assert text.endswith("\n") or not text, _id(path)
        assert not text.endswith("\n\n"), _id(path)
        assert not re.search(r"[ \t]+$", text, re.M), _id(path)
        assert "\t" not in text or path.name == "Makefile", _id(path)
        assert "\r" not in text, _id(path)


# -- words -----------------------------------------------------------------------------
#: Words of the package's own that readers do not know, and those of the field.
OWN_WORDS = {
    r"told": "classified, estimated, predicted, said",
    r"dealt": "permuted, treated",
    r"anew": "again, in each fold, at random",
    r"hindsight": "selected post hoc",
    r"read-?outs?": "projection",
    r"level over": "participant encoder",
    r"untrained": "random weights",
    r"parted": "split, sharded",
    r"nobody": "no participant",
    r"(?:trial strengths?|strengths? of (?:a|the|single) trials?)": (
        "single-trial amplitude"
    ),
}
#: Uses that are left, by folder. Bring them down; add none.
USES_LEFT: dict[str, int] = {}


def _prose(path, text):
    """Yield line numbers and lines that people read: in code, comments and strings."""
    if path.suffix != ".py":
        yield from enumerate(text.splitlines(), 1)
        return
    read = {"COMMENT", "STRING", "FSTRING_MIDDLE"}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if tokenize.tok_name[token.type] in read:
            yield from enumerate(token.string.splitlines(), token.start[0])


def test_words_of_the_field():
    """Docs, docstrings, comments and messages have the words of the field."""
    found = {}
    for path, text in _texts():
        name = path.relative_to(ROOT)
        if name.parts[0] in {"mne_megfm", "doc", "examples", "benchmarks", "tools"}:
            folder = name.parent.as_posix()
        elif name.as_posix() in {"README.md", "CHANGES"}:
            folder = name.as_posix()
        else:
            continue
        if path.suffix not in {".py", ".rst", ".md", ""}:
            continue
        for number, line in _prose(path, text):
            for word, instead in OWN_WORDS.items():
                for match in re.finditer(rf"\b{word}\b", line, re.I):
                    found.setdefault(folder, []).append(
                        f"{_id(path)}:{number}: {match[0]!r}; write: {instead}"
                    )
    more = [
        line
        for folder, lines in found.items()
        if len(lines) > USES_LEFT.get(folder, 0)
        for line in lines
    ]
    assert not more, "\n" + "\n".join(more)
