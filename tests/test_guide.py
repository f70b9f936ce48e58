"""The code in the user guide runs, on simulated recordings."""

import importlib.util
import re
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import mne
import pytest

from mne_megfm import simulate_cohort

GUIDE = Path(__file__).parents[1] / "doc" / "guide"
PAGES = sorted(
    path.stem
    for path in GUIDE.glob("*.rst")
    if "code-block:: python" in path.read_text()
)

#: Pages that train or score much.
SLOW = ("evaluation", "interpretation", "pretraining", "retrieval")
PARAMS = [
    pytest.param(page, marks=[pytest.mark.slow] if page in SLOW else [])
    for page in PAGES
]


@pytest.fixture(scope="module")
def cohort():
    """Twelve participants: rest as Raw, sounds as Epochs."""
    return simulate_cohort(
        12,
        states=("rest", "auditory"),
        arrays=("opm64",),
        n_epochs=8,
        raw_states=("rest",),
        filters=(1.0, 40.0),
        random_state=0,
        verbose=False,
    )


@pytest.fixture
def names(cohort, tmp_path, monkeypatch):
    """What a page takes as given: files, and what the pages before it have made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda *args, **kwargs: None)
    person = simulate_cohort(
        1,
        states=("auditory",),
        arrays=("opm64",),
        n_epochs=12,
        raw_states=("auditory",),
        random_state=1,
        verbose=False,
    )[0]
    raw = person.recordings["auditory"]
    raw.annotations.description = ["standard", "deviant"] * 6
    raw.save("sub-01_meg.fif", verbose=False)
    recordings = [tuple(person.recordings.values()) for person in cohort][:6]
    X = [dict(person.recordings) for person in cohort]
    y = cohort.labels.tolist()
    epochs = recordings[0][1]
    labels = [0, 1] * (len(epochs) // 2)
    yield dict(epochs=epochs, labels=labels, recordings=recordings, X=X, y=y)
    plt.close("all")


@pytest.mark.parametrize("page", PARAMS)
def test_code(page, names):
    """The blocks of a page run one after the other."""
    if page == "braindecode" and importlib.util.find_spec("braindecode") is None:
        pytest.skip("The braindecode extra is not installed")
    text = (GUIDE / f"{page}.rst").read_text("utf-8")
    blocks = re.findall(r"^\.\. code-block:: python\n((?:\n|   .*\n)+)", text, re.M)
    assert blocks
    if page == "stories":
        pytest.importorskip("nilearn", reason="surfaces and fMRI need nilearn")
    if page == "pretraining":  # trains on a list of MNE objects, two for speed
        names["recordings"] = [epochs for _, epochs in names["recordings"][:3]]
    with mne.use_log_level("error"):
        for block in blocks:
            exec(compile(textwrap.dedent(block), page, "exec"), names)
