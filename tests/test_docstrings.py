"""Tests of the docstrings of all public objects."""

import dataclasses
import importlib
import inspect
import re
import tomllib
from pathlib import Path

import pytest
from numpydoc.docscrape import ClassDoc
from numpydoc.validate import validate

import mne_megfm

ROOT = Path(__file__).parents[1]
_CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
IGNORED = set(_CONFIG["tool"]["numpydoc_validation"]["checks"]) - {"all"}
MODULES = (
    ["mne_megfm"]
    + [
        f"mne_megfm.{path.parent.name}"
        for path in sorted(Path(mne_megfm.__file__).parent.glob("*/__init__.py"))
    ]
    + ["mne_megfm.testing"]
)


def _public_objects(module):
    """Yield the name and object of public functions, classes and own methods."""
    for name in getattr(module, "__all__", ()):
        obj = getattr(module, name)
        if getattr(obj, "_is_protocol", False):
            continue  # its methods are documented where they are written
        if inspect.isroutine(obj):
            yield f"{module.__name__}.{name}", obj
        elif inspect.isclass(obj):
            yield f"{module.__name__}.{name}", obj
            for attribute, member in inspect.getmembers_static(obj):
                own = getattr(obj, attribute, None)
                home = getattr(own, "__module__", None)
                if isinstance(member, property):
                    home, own = member.fget.__module__, member.fget
                if attribute.startswith("_") or not (home or "").startswith(
                    "mne_megfm"
                ):
                    continue
                if inspect.isroutine(own) or isinstance(member, property):
                    yield f"{module.__name__}.{name}.{attribute}", own


def _has_own_init(obj):
    return inspect.unwrap(obj.__init__).__module__.startswith("mne_megfm") and not (
        getattr(obj, "_is_protocol", False)
    )


def _errors(name, obj):
    ignored = set(IGNORED)
    if dataclasses.is_dataclass(obj) and inspect.isclass(obj):
        # The fields of a dataclass may be described as what they are: attributes
        attributes = {entry.name for entry in ClassDoc(obj)["Attributes"]}
        if {field.name for field in dataclasses.fields(obj)} <= attributes:
            ignored |= {"PR01"}
    if inspect.isclass(obj) and not _has_own_init(obj):
        ignored |= {"PR01"}  # the signature is that of typing or torch
    for code, text in validate(name)["errors"]:
        if code not in ignored:
            yield f"{name}: {code} {text}"


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    """Public objects are documented as numpydoc has it."""
    module = importlib.import_module(name)
    errors = [
        error
        for dotted, obj in _public_objects(module)
        for error in _errors(dotted, obj)
    ]
    assert not errors, "\n" + "\n".join(errors)


@pytest.mark.parametrize("name", MODULES)
def test_annotations(name):
    """Public functions and methods have type hints on all they take and return."""
    lacking = []
    for dotted, obj in _public_objects(importlib.import_module(name)):
        if inspect.isclass(obj):
            obj = obj.__dict__.get("__init__") if _has_own_init(obj) else None
            returns = True
        else:
            obj = inspect.unwrap(obj)
            returns = "return" in getattr(obj, "__annotations__", {})
        if not inspect.isfunction(obj):
            continue
        given = set(obj.__annotations__)
        for parameter in list(inspect.signature(obj).parameters):
            if parameter not in given | {"self", "cls"}:
                lacking.append(f"{dotted}: {parameter}")
        if not returns:
            lacking.append(f"{dotted}: return")
    assert not lacking, "\n" + "\n".join(lacking)


def test_api_page():
    """The API page of the documentation has every public object, and no other."""
    page = (ROOT / "doc" / "api.rst").read_text("utf-8")
    listed = set(re.findall(r"^   ([\w.]+)$", page, re.M))
    at_top = {id(getattr(mne_megfm, name)) for name in mne_megfm.__all__}
    public = set()
    for name in MODULES:
        module = importlib.import_module(name)
        prefix = f"{name}.".removeprefix("mne_megfm.")
        for attribute in getattr(module, "__all__", ()):
            obj = getattr(module, attribute)
            if not (inspect.isclass(obj) or inspect.isroutine(obj)):
                continue
            if name == "mne_megfm" or id(obj) not in at_top:
                public.add(prefix + attribute)
    assert listed == public


def test_pages_use_public_names():
    """What the guide and the examples import is on the API page."""
    listed = (ROOT / "doc" / "api.rst").read_text("utf-8")
    pages = [
        *ROOT.glob("doc/**/*.rst"),
        *ROOT.glob("examples/*.py"),
        ROOT / "README.md",
    ]
    asked = re.compile(
        r"^\s*(?:>>> )?from mne_megfm\.?(\w*) import (\([\w,\s]+\)|[\w, ]+)$", re.M
    )
    found = {
        f"{module}.{name}".lstrip(".")
        for page in pages
        for module, names in asked.findall(page.read_text("utf-8"))
        for name in re.findall(r"\w+", names)
    }
    assert {"MEGFMTransformer", "evaluation.compare"} <= found
    assert not {n for n in found if not re.search(rf"^   {n}$", listed, re.M)}
