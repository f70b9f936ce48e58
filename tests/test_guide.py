"""The code in the user guide runs, on simulated recordings."""

import importlib.util
import re
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import mne
import numpy as np
import pandas as pd
import pytest

from mne_megfm import simulate_cohort

GUIDE = Path(__file__).parents[1] / "doc" / "guide"
PAGES = sorted(
    path.stem
    for path in GUIDE.glob("*.rst")
    if "code-block:: python" in path.read_text()
)

#: Pages that train or score much.
SLOW = ("evaluation", "interpretation", "norms", "pretraining", "retrieval")
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


def _write_people(folder):
    """Write features of 80 people, with age, sex and site, and the table of these."""
    rng = np.random.default_rng(0)
    names = [f"sub-{n:02d}" for n in range(80)]
    known = {
        "age": rng.integers(20, 70, 80),
        "sex": np.where(rng.random(80) < 0.5, "F", "M"),
    }
    known |= {"site": np.where(np.arange(80) % 2, "01", "02")}
    values = rng.standard_normal((80, 4)) + 0.03 * known["age"][:, None]
    values[40:, 0] += 1.0
    features = {f"feature{n}": values[:, n] for n in range(4)} | {"rest_missing": 0.0}
    people = pd.DataFrame({"participant": names} | known | features)
    people.to_csv(folder / "people.csv", index=False)
    group = np.repeat(["control", "migraine"], 40)
    table = pd.DataFrame({"participant_id": names} | known | {"group": group})
    table.to_csv(folder / "participants.tsv", sep="\t", index=False)


@pytest.mark.parametrize("page", PARAMS)
def test_code(page, names):
    """The blocks of a page run one after the other."""
    if page == "braindecode" and importlib.util.find_spec("braindecode") is None:
        pytest.skip("The braindecode extra is not installed")
    if page == "norms":
        for package in ("pcntoolkit", "combatlearn"):
            pytest.importorskip(package, reason="the page needs other packages")
        _write_people(Path.cwd())
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
