"""Tests of the package as a whole: imports, public names, metadata."""

import ast
import configparser
import importlib
import inspect
import json
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import mne_megfm

ROOT = Path(__file__).parents[1]
PACKAGE = Path(mne_megfm.__file__).parent
#: Extras whose packages the code itself imports.
USED = [
    *("archive", "braindecode", "cli", "cluster", "compare", "encoding", "finetune"),
    *("hub", "interpret", "parquet", "report"),
]
HEAVY = {"matplotlib", "mne", "numpy", "pandas", "scipy", "sklearn", "skorch", "torch"}


def _run(code):
    """Run code in a fresh interpreter and return what it prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def _loaded(statement):
    """Return the top-level modules that a statement loads."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    return {name.partition(".")[0] for name in _run(code)}


def test_import_is_light():
    """The package loads nothing heavy and is there at once."""
    assert not _loaded("import mne_megfm") & HEAVY
    timed = (
        "import time; start = time.perf_counter(); import mne_megfm; "
        "print(time.perf_counter() - start)"
    )
    assert min(_run(timed) for _ in range(3)) < 0.3


@pytest.mark.parametrize(
    "name, without",
    [
        ("simulation", {"skorch", "torch"}),
        ("inputs", {"skorch", "torch"}),
        ("models", {"mne", "pandas", "sklearn", "skorch"}),
        ("plugins", {"sklearn", "skorch", "torch"}),
        ("sensors", {"skorch", "torch"}),
        ("store", {"mne", "scipy", "sklearn", "skorch", "torch"}),
    ],
)
def test_parts_are_apart(name, without):
    """A part does not load the libraries of other parts."""
    assert not _loaded(f"import mne_megfm.{name}") & without


def test_inference_loads_no_training():
    """Bundled weights, epochs and participants need no module of pretraining."""
    code = """
import json, sys
import mne, numpy as np
from mne_megfm import MEGFMClassifier, MEGFMTransformer
from mne_megfm.simulation import make_array_info
from mne_megfm.weights import load_checkpoint, weights_path

mne.set_log_level("error")
load_checkpoint(weights_path("megfm-tiny"))
info = make_array_info("ctf151")
rng = np.random.default_rng(0)

def epochs(n=4):
    data = 1e-13 * rng.standard_normal((n, len(info["ch_names"]), 300))
    return mne.EpochsArray(data, info, tmin=-0.2)

few = epochs()
assert MEGFMTransformer().fit_transform(few).shape[0] == 4
MEGFMClassifier().fit(few, [0, 1, 0, 1]).predict(few)
people = [{"rest": epochs(), "auditory": epochs()} for _ in range(2)]
assert MEGFMTransformer().fit_transform(people).shape[0] == 2
assert MEGFMTransformer(aggregation="mean_std").fit_transform(people).shape[0] == 2
print(json.dumps(sorted(sys.modules)))
"""
    loaded = set(_run(code))
    assert "mne_megfm.participants.features" in loaded
    assert not {name for name in loaded if name.startswith("mne_megfm.pretraining")}
    assert "torch._dynamo" not in loaded  # a compiler, whose import takes a second


def test_public_names():
    """All public names can be had, are listed, and belong to the package."""
    assert set(mne_megfm.__all__) <= set(dir(mne_megfm))
    for name in mne_megfm.__all__:
        obj = getattr(mne_megfm, name)
        home = getattr(obj, "__module__", None) or getattr(obj, "__name__", "mne_megfm")
        assert home.startswith("mne_megfm"), name
    with pytest.raises(AttributeError, match="no_such_name"):
        mne_megfm.no_such_name  # noqa: B018


def test_stub_lists_what_it_imports():
    """The names in the stub's ``__all__`` are those that it imports."""
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text("utf-8"))
    imported = {
        alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == set(mne_megfm.__all__)


@pytest.mark.parametrize(
    "name",
    sorted(
        path.parent.relative_to(PACKAGE.parent).as_posix().replace("/", ".")
        for path in PACKAGE.rglob("__init__.py")
    ),
)
def test_subpackages(name):
    """Each subpackage lists its public names, which all exist, and says what it is."""
    package = importlib.import_module(name)
    assert package.__doc__
    for public in getattr(package, "__all__", ()):
        assert hasattr(package, public), public
        assert not public.startswith("_")


def test_public_signatures_have_types():
    """Functions, and methods of classes, that users call have types throughout."""
    bare, n_checked = [], 0
    objects = (getattr(mne_megfm, name) for name in mne_megfm.__all__)
    for package in filter(inspect.ismodule, objects):
        for name in package.__all__:
            obj = getattr(package, name)
            functions = {name: obj} if inspect.isfunction(obj) else {}
            if inspect.isclass(obj):
                functions = {
                    f"{name}.{key}": inspect.unwrap(getattr(value, "__func__", value))
                    for key, value in vars(obj).items()
                    if key == "__init__" or key[0] != "_"
                }
            for key, function in functions.items():
                if not inspect.isfunction(function):
                    continue
                if not function.__module__.startswith("mne_megfm"):
                    continue  # what decorators of others make
                signature = inspect.signature(function)
                types = [p.annotation for p in signature.parameters.values()]
                if [*signature.parameters][:1] in (["self"], ["cls"]):
                    del types[0]
                types.append(signature.return_annotation)
                n_checked += 1
                if inspect.Signature.empty in types:
                    bare.append(f"{package.__name__}.{key}")
    assert n_checked > 100
    assert not bare


def test_every_public_package_is_listed():
    """Subpackages are public names, but for what is run from the shell."""
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    packages -= {"commands", "utils"}  # the shell, and what folders share
    public = {name for name in packages if not name.startswith("_")}
    listed = {
        name for name in mne_megfm.__all__ if inspect.ismodule(getattr(mne_megfm, name))
    }
    assert public == listed


def test_version():
    """The version is the installed one, and a version."""
    installed = metadata.version("mne-megfm")
    if installed != mne_megfm.__version__:
        pytest.fail(
            f"mne-megfm {installed} is installed, this is {mne_megfm.__version__}; "
            "install anew: pip install -e ."
        )
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", installed)
    series = ".".join(installed.split(".")[:2])
    assert f"\n## {series}" in (ROOT / "CHANGES").read_text("utf-8")


def _setup_cfg():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def _requirements(config, extras=None):
    texts = [config["options"]["install_requires"]]
    table = config["options.extras_require"]
    texts += [table[extra] for extra in (table if extras is None else extras)]
    for line in "\n".join(texts).splitlines():
        if not line.strip() or line.strip().startswith("#"):
            continue
        requirement = Requirement(line.strip())
        if requirement.name == "mne-megfm":  # an extra made of other extras
            yield from _requirements(config, requirement.extras)
        else:
            yield requirement


def test_constraints_fit_requirements():
    """What the make targets install is in the range that the package allows."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pinned = {
        constraint.name: next(iter(constraint.specifier)).version
        for constraint in map(Requirement, filter(lambda x: x and x[0] != "#", lines))
    }
    config = _setup_cfg()
    for requirement in _requirements(config):
        if requirement.name in pinned:
            version = pinned[requirement.name]
            assert requirement.specifier.contains(version), requirement
    for requirement in _requirements(config, ["braindecode", "doc", "test"]):
        assert requirement.name in pinned, f"constraints.txt lacks {requirement.name}"


def test_lowest_versions():
    """What CI installs as the lowest versions are those that the metadata allow."""
    lines = (ROOT / "constraints-lowest.txt").read_text("utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    extras = ["cli", "compare", "finetune", "report"]
    lowest = {
        requirement.name: specifier.version
        for requirement in _requirements(_setup_cfg(), extras)
        for specifier in requirement.specifier
        if specifier.operator == ">="
    }
    assert set(pinned) == set(lowest)
    for name in pinned:
        assert Version(pinned[name]) == Version(lowest[name]), name


def test_imports_are_declared():
    """Each third-party package that the code imports is among the requirements."""
    modules = {"markdown-it-py": "markdown_it", "scikit-learn": "sklearn"}
    declared = {
        modules.get(requirement.name, requirement.name.replace("-", "_"))
        for requirement in _requirements(_setup_cfg(), USED)
    }
    imported = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.partition(".")[0])
    foreign = imported - set(sys.stdlib_module_names) - {"mne_megfm"}
    assert foreign <= declared


def test_python_version():
    """The README and the Makefile ask for the Python that the metadata ask for."""
    needed = _setup_cfg()["options"]["python_requires"].removeprefix(">=")
    assert f"Python {needed} or later" in (ROOT / "README.md").read_text("utf-8")
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert f"Python {needed} or later" in makefile
    assert f"sys.version_info < ({needed.replace('.', ', ')})" in makefile


def test_make_targets():
    """Each make target that a document names exists; the README names the main two."""
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
    )
    for path in (ROOT / "README.md", *sorted((ROOT / "doc").glob("*.rst"))):
        text = path.read_text("utf-8")
        named = set(re.findall(r"(?:`|^ *)make ([a-z-]+)", text, re.M))
        assert named <= targets, path.name
        assert path.name != "README.md" or {"demo", "test"} <= named


def test_wheel(tmp_path):
    """The wheel has all that the package has: stubs, py.typed, weights."""
    source = tmp_path / "source"  # a copy, since building leaves things behind
    unwanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, source / "mne_megfm", ignore=unwanted)
    for name in ("LICENSE", "README.md", "pyproject.toml", "setup.cfg"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", tmp_path, source]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info" not in name}
    assert packed == {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
