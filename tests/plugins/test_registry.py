"""Tests of the plug-in registry, with real entry points of fake packages."""

import os
import re
import signal
import sys
import threading
import warnings

import mne
import pytest

from mne_megfm.plugins import (
    KINDS,
    _imports as _probe,
    available,
    get,
    register,
    resolve,
)
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
    """The eight kinds each have an entry-point group; bad kinds are named."""
    assert set(KINDS) == {
        "aggregators",
        "backbones",
        "sensor_mappings",
        "heads",
        "maskings",
        "networks",
        "objectives",
        "poolings",
    }
    assert KINDS["heads"].group == "mne_megfm.heads"
    with pytest.raises(ValueError, match="one of 'sensor_mappings', .* got 'masking'"):
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
        (r"raise ValueError('\udcff \x1b[31m')", r"ValueError: \\udcff \\x1b\[31m"),
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


HARMFUL = {
    "exits": ("raise SystemExit(3)", "SystemExit: 3"),
    "interrupts": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "ends a generator": ("raise GeneratorExit", "GeneratorExit"),
    "base exception": (
        "class Own(BaseException): pass\nraise Own('own')",
        "Own: own",
    ),
    "kills": ("import os\nos._exit(5)", "ended the process .exit code 5"),
    "crashes": (
        "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)",
        "ended the process",
    ),
    "sleeps": ("import time\ntime.sleep(600)", "took more than 6 s"),
    "spins": ("while True: pass", "took more than 6 s"),
    "asks": ("input()", "EOFError"),
    "no callable": ("Part = 3", "TypeError: 3 cannot be called"),
    "says nothing": (
        "class E(Exception):\n    def __str__(self): raise SystemExit\nraise E",
        "used: E",
    ),
    "recursion": ("def f(): f()\nf()", "RecursionError"),
    "lone surrogate": ("raise ValueError('\\udcff')", r"ValueError: .udcff"),
    "many lines": ("raise ValueError('a\\n\\nb')", "ValueError: a b"),
    "warns as error": (
        "import warnings\nwarnings.simplefilter('error')\nwarnings.warn('old')",
        "UserWarning: old",
    ),
}


@pytest.mark.parametrize("code, reason", HARMFUL.values(), ids=HARMFUL)
def test_harmful(install, maskings, monkeypatch, code, reason):
    """Whatever an import does, others are listed, built-ins work, and it is named."""
    monkeypatch.setattr(_probe, "SECONDS", 6.0)
    install("harmful-masks", "harmful", code)
    install("checker-masks", "checkerboard", PART)
    registry = maskings()
    assert callable(registry.get("random"))
    with pytest.warns(RuntimeWarning, match=f"'harmful' of harmful-masks .*{reason}"):
        with pytest.raises(ValueError, match="got 'randam'.*Did you mean 'random'"):
            registry.get("randam")
    names = registry.available()
    assert "checkerboard" in names and "random" in names and "harmful" not in names
    assert registry.resolve("checkerboard")() == 0.5
    with pytest.raises(ValueError, match=f"is installed, but .*{reason}"):
        registry.get("harmful")


@pytest.mark.parametrize(
    "name",
    [
        *("exits", "interrupts", "ends a generator", "base exception", "says nothing"),
        *("recursion", "lone surrogate", "many lines", "warns as error"),
    ],
)
@pytest.mark.filterwarnings("ignore:The import of 'harmful'")
def test_harmful_by_name(install, maskings, name):
    """Asked for by its name, such an import is an error as any other."""
    code, reason = HARMFUL[name]
    install("harmful-masks", "harmful", code)
    with pytest.warns(RuntimeWarning, match=reason):
        with pytest.raises(ValueError, match=f"is installed, but .*{reason}"):
            maskings().get("harmful")


@pytest.mark.parametrize(
    "code, what, state",
    [
        ("import os\nos.chdir(os.path.sep)", "the working directory", os.getcwd),
        (
            "import sys\nsys.setrecursionlimit(5000)",
            "the limit of recursion",
            sys.getrecursionlimit,
        ),
        ("import sys\nsys.stdout = None", "sys.stdout", lambda: sys.stdout),
        (
            "import warnings\nwarnings.simplefilter('ignore')",
            "the filters of warnings",
            lambda: list(warnings.filters),
        ),
    ],
)
def test_what_is_of_all_the_process_stays(install, maskings, code, what, state):
    """An import that changes it is named, and its part works."""
    install("rude-masks", "rude", code + "\n" + PART)
    with pytest.warns(RuntimeWarning, match=f"'rude' of rude-masks changed {what}"):
        before = state()
        part = maskings().resolve("rude")
        assert state() == before
    assert part() == 0.5


def test_what_packages_may_do(install, maskings):
    """Filters of warnings of their own, prints and threads that end are no matter."""
    code = "import threading, warnings\nprint('hello')\n"
    code += "warnings.filterwarnings('ignore', module='nothing_of_this_name')\n"
    code += "thread = threading.Thread(target=print)\nthread.start()\nthread.join()\n"
    install("polite-masks", "polite", code + PART)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert maskings().resolve("polite")() == 0.5
        assert any("nothing_of" in str(f[3]) for f in warnings.filters)


def test_threads_that_stay_are_named(install, maskings):
    """The process would wait for them at its end without a word."""
    code = "import threading\nstop = threading.Event()\n"
    code += "threading.Thread(target=stop.wait, args=(60,), name='mine').start()\n"
    module = install("busy-masks", "busy", code + PART)
    with pytest.warns(RuntimeWarning, match="of busy-masks started mine, which keeps"):
        maskings().resolve("busy")
    sys.modules[module].stop.set()


@pytest.mark.parametrize("value", ["not a module!", "x:", "x:a:b", ":Part", "a b:c"])
def test_entry_points_that_are_none(install, maskings, tmp_path, value):
    """What does not say module and object is named, and in nobody's way."""
    install("odd-masks", "odd", PART)
    info = tmp_path / "odd_masks-1.0.dist-info"
    (info / "entry_points.txt").write_text(f"[mne_megfm.maskings]\nodd = {value}\n")
    registry = maskings()
    with pytest.warns(RuntimeWarning, match="'odd' of odd-masks .*not module:object"):
        assert "odd" not in registry.available()
    with pytest.raises(ValueError, match="is installed, but .*not module:object"):
        registry.get("odd")
    with pytest.raises(ValueError, match="got one of the class builtins.object"):
        registry.name_of(object())


@pytest.mark.skipif(os.name != "posix", reason="needs signals of POSIX")
def test_interrupted_by_the_user(install, maskings):
    """Ctrl-C during an import is the user's, goes through, and is no failure."""
    code = "import os, signal, time\nif ready: os.kill(os.getpid(), signal.SIGINT)\n"
    code = code.replace("ready", "not hasattr(signal, 'once')") + "signal.once = 1\n"
    install("slow-masks", "slow", code + PART)
    registry = maskings()
    # a shell that starts tests in the background has them ignore the signal
    outer = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            registry.get("slow")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.once = 1
        assert registry.resolve("slow")() == 0.5
    finally:
        signal.signal(signal.SIGINT, outer)
        del signal.once


def test_import_that_takes_long(install, maskings, monkeypatch):
    """The plug-in whose import keeps the user waiting is named; quick ones are not."""
    monkeypatch.setattr(_probe, "SAY_AFTER", 0.05)
    install("slow-masks", "slow", "import time\ntime.sleep(1.0)\n" + PART)
    install("checker-masks", "checkerboard", PART)
    registry = maskings()
    with mne.utils.catch_logging() as log:
        assert registry.resolve("slow")() == 0.5
    assert log.getvalue().count("Still importing the masking 'slow' of slow-masks") == 1
    monkeypatch.setattr(_probe, "SAY_AFTER", 60.0)
    with mne.utils.catch_logging() as log:
        assert registry.resolve("checkerboard")() == 0.5
    assert "Still importing" not in log.getvalue()


def test_threads(install, maskings):
    """In another thread than the main one, where no signal comes, it is the same."""
    install("harmful-masks", "harmful", "raise KeyboardInterrupt")
    registry, caught = maskings(), []

    def ask():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                registry.get("harmful")
            except ValueError as error:
                caught.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert "KeyboardInterrupt" in str(caught[0])


def test_listing_imports_nothing_here(install, maskings):
    """What is listed has been tried elsewhere: its import has no effect here."""
    module = install("checker-masks", "checkerboard", PART)
    assert "checkerboard" in maskings().available()
    assert module not in sys.modules


@pytest.mark.parametrize(
    "content",
    [b"[mne_megfm.maskings]\nno equals sign\n", b"[mne_megfm.maskings]\n\xff=1"],
)
def test_metadata_that_cannot_be_read(install, maskings, tmp_path, content):
    """A package whose list of entry points is damaged is named; all others work."""
    install("damaged-masks", "damaged", PART)
    install("checker-masks", "checkerboard", PART)
    (tmp_path / "damaged_masks-1.0.dist-info" / "entry_points.txt").write_bytes(content)
    registry = maskings()
    with pytest.warns(RuntimeWarning, match="plug-ins of damaged-masks cannot be used"):
        assert callable(registry.get("random"))
    assert registry.resolve("checkerboard")() == 0.5


def test_package_without_a_name(install, maskings, tmp_path):
    """A package that does not tell its name has plug-ins as any other."""
    install("nameless", "checkerboard", PART)
    (tmp_path / "nameless-1.0.dist-info" / "METADATA").write_text("Version: 1.0\n")
    assert maskings().resolve("checkerboard")() == 0.5


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


def test_described(install, maskings):
    """All parts are in the list, with what they are or why they cannot be used.

    The list is without warnings, and nothing of others is imported in this process.
    """
    documented = PART.replace(
        "Part:", 'Part(list):\n    """\n    Squares.\n\n    More."""'
    )
    module = install("a-masks", "squares", documented)
    install("b-masks", "plain", "class Part(list): pass")
    install("c-masks", "broken", "raise ValueError('no such file')")
    install("d-masks", "kills", "import os\nos._exit(5)")
    install("e-masks", "random", PART)
    registry = maskings()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = registry.describe()
    assert module not in sys.modules
    own = [row for row in rows if row.origin == "built in"]
    assert [row.name for row in own] == sorted(KINDS["maskings"].builtins)
    assert all(row.summary and not row.error and row.kind == "maskings" for row in own)
    others = {row.origin: row for row in rows if row.origin != "built in"}
    assert len(others) == len(rows) - len(own) == 5
    squares, plain = others["a-masks"], others["b-masks"]
    assert (squares.name, squares.entry_point) == ("squares", "a_masks:Part")
    assert (squares.summary, squares.error) == ("Squares.", "")
    assert (plain.summary, plain.error) == ("", "")  # not the docstring of its parent
    assert others["c-masks"].error == "ValueError: no such file"
    assert "exit code 5" in others["d-masks"].error
    assert "left out, since mne-megfm has one" in others["e-masks"].error
    with registry.register("mine", lambda: len):
        [mine] = [row for row in registry.describe() if row.name == "mine"]
        assert mine.origin == "register" and not mine.error
    assert registry.describe() == rows


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
    with register("objectives", "mine", lambda: len):
        assert available("objectives") == tuple(sorted([*before, "mine"]))
        assert resolve("objectives", "mine") is len
        with pytest.raises(ValueError, match="name that is free, got 'mine'"):
            with register("objectives", "mine", lambda: max):
                pass
    with pytest.raises(RuntimeError, match="inside"):
        with register("objectives", "mine", lambda: len):
            raise RuntimeError("inside")
    assert available("objectives") == before
    with pytest.raises(ValueError, match="free"):
        with register("maskings", "random", lambda: len):
            pass
    with pytest.raises(TypeError, match="Expected a class or a function"):
        with register("objectives", "mine", 3):
            pass
