"""Tests of the plug-in registry, with real entry points of fake packages."""

import re
import sys

import pytest

from mne_megfm.plugins import KINDS, available, get, resolve, temporary
from mne_megfm.plugins._registry import Registry

PART = """
class Part:
    def __init__(self, ratio=0.5):
        self.ratio = ratio

    def __call__(self):
        return self.ratio
"""


@pytest.fixture
def maskings():
    """Return a registry that has looked nothing up yet."""
    return lambda: Registry(KINDS["maskings"])


def test_kinds():
    """The seven kinds each have an entry-point group; bad kinds are named."""
    assert set(KINDS) == {
        "backbones",
        "frontends",
        "heads",
        "maskings",
        "networks",
        "objectives",
        "poolings",
    }
    assert KINDS["heads"].group == "mne_megfm.heads"
    with pytest.raises(ValueError, match="one of 'frontends', .* got 'masking'"):
        available("masking")


@pytest.mark.parametrize(
    "kind, name",
    [(kind.name, name) for kind in KINDS.values() for name in kind.builtins],
)
def test_builtins_load(kind, name):
    """Every built-in part is where the table says."""
    assert callable(get(kind, name))
    assert name in available(kind)


def test_external(install, maskings):
    """A part of an installed package is listed and made with arguments."""
    module = install("checker-masks", "checkerboard", PART)
    registry = maskings()
    assert module not in sys.modules
    part = registry.resolve("checkerboard", ratio=0.25)
    assert type(part) is sys.modules[module].Part
    assert part() == 0.25
    assert "checkerboard" in registry.available()
    assert "random" in registry.available()
    with pytest.raises(TypeError, match=r"fit \(ratio=0.5\), got {'ration': 1}"):
        registry.resolve("checkerboard", ration=1)


def test_external_is_imported_on_use_only(install, maskings):
    """Asking for one part does not import the package of another."""
    broken = install("broken-masks", "broken", "raise RuntimeError('no licence')")
    install("checker-masks", "checkerboard", PART)
    assert maskings().resolve("checkerboard")() == 0.5
    assert broken not in sys.modules


@pytest.mark.parametrize(
    "code, reason",
    [
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("import not_installed_at_all", "No module named 'not_installed_at_all'"),
        ("Other = None", "has no attribute 'Part'"),
        ("def (", "SyntaxError"),
    ],
)
def test_broken(install, maskings, code, reason):
    """A part that fails to import is one warning with the reason, and not listed."""
    install("broken-masks", "broken", code)
    registry = maskings()
    with pytest.warns(RuntimeWarning, match=f"'broken' of broken-masks .*{reason}"):
        names = registry.available()
    assert "broken" not in names
    assert "random" in names
    assert registry.available() == names  # and no second warning
    with pytest.raises(ValueError, match=f"is installed, but .*{reason}") as excinfo:
        registry.get("broken")
    assert excinfo.value.__cause__ is not None


def test_broken_by_name(install, maskings):
    """Asking for a broken part by name is a warning and an error."""
    install("broken-masks", "broken", "1 / 0")
    with pytest.warns(RuntimeWarning, match="ZeroDivisionError"):
        with pytest.raises(ValueError, match="'random'.*ZeroDivisionError"):
            maskings().resolve("broken")


def test_exit_is_not_caught(install, maskings):
    """Only exceptions count as failures: an interruption goes through."""
    install("broken-masks", "broken", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        maskings().available()


def test_unknown(maskings):
    """An unknown name is an error that lists what there is, close names first."""
    listed = ", ".join(repr(name) for name in maskings().available())
    with pytest.raises(ValueError, match=re.escape(f"one of {listed}")):
        maskings().get("nothing-like-it")
    with pytest.raises(ValueError, match="got 'Time_Block'.*mean 'time-block"):
        maskings().get("Time_Block")


def test_builtin_is_not_shadowed(install, maskings):
    """An external part cannot take the name of a built-in one."""
    install("bold-masks", "random", PART)
    registry = maskings()
    with pytest.warns(RuntimeWarning, match="'random' of bold-masks .* is left out"):
        factory = registry.get("random")
    assert factory.__module__.startswith("mne_megfm.")
    assert registry.get("random") is factory  # and no second warning


def test_duplicate_external(install, maskings):
    """Of two external parts of one name, the order of the packages' names decides."""
    install("z-masks", "checkerboard", PART.replace("0.5", "0.9"))
    install("a-masks", "checkerboard", PART)
    registry = maskings()
    with pytest.warns(RuntimeWarning, match="of z-masks .* left out, since a-masks"):
        assert registry.resolve("checkerboard")() == 0.5


def test_other_kinds_are_apart(install, maskings):
    """A part offered as an objective is no masking."""
    install("checker-masks", "checkerboard", PART, kind="objectives")
    assert "checkerboard" not in maskings().available()
    assert "checkerboard" in Registry(KINDS["objectives"]).available()


def test_instances():
    """Instances are taken as they are; classes and misfits are told what to do."""

    class Part:
        def __call__(self):
            return 0

    part = Part()
    assert resolve("maskings", part) is part
    with pytest.raises(TypeError, match=r"make an instance of it: Part\(\.\.\.\)"):
        resolve("maskings", Part)
    for misfit in (3, None, object()):
        with pytest.raises(TypeError, match="a masking.*'__call__'.*'time-block'"):
            resolve("maskings", misfit)
    with pytest.raises(TypeError, match="Expected the name of an objective"):
        resolve("objectives", 3)


def test_temporary():
    """A temporary part is known inside the block only, also after an error."""
    before = available("objectives")
    with temporary("objectives", "mine", lambda: len):
        assert available("objectives") == tuple(sorted([*before, "mine"]))
        assert resolve("objectives", "mine") is len
        with pytest.raises(ValueError, match="name that is free, got 'mine'"):
            with temporary("objectives", "mine", lambda: max):
                pass
    with pytest.raises(RuntimeError, match="inside"):
        with temporary("objectives", "mine", lambda: len):
            raise RuntimeError("inside")
    assert available("objectives") == before
    with pytest.raises(ValueError, match="free"):
        with temporary("maskings", "random", lambda: len):
            pass
    with pytest.raises(TypeError, match="Expected a class or a function"):
        with temporary("objectives", "mine", 3):
            pass
