"""Tests of the report from the shell."""

from functools import partial

import mne
import numpy as np
import pytest
from click.testing import CliRunner

from mne_megfm import MEGFMTransformer, evaluation, simulate_cohort
from mne_megfm.commands import main
from mne_megfm.commands.report import excerpt
from mne_megfm.interpret import MASKS, attention_test, score_reconstruction

# MNE 1.13 reads the metadata of epochs in a way that pandas 3.1 warns of
pytestmark = pytest.mark.filterwarnings(
    "ignore:The inplace keyword in DataFrame.set_index:DeprecationWarning"
)


def run(*args):
    """Run a command in this process."""
    return CliRunner().invoke(main, ["report", *(str(arg) for arg in args)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a recording of each of nine participants, and labels."""
    path = tmp_path_factory.mktemp("recordings")
    cohort = simulate_cohort(
        9, states=("auditory",), arrays=("opm64",), n_epochs=3, random_state=3
    )
    lines = ["participant_id\tgroup\tage"]
    for number, (person, label) in enumerate(zip(cohort, cohort.labels, strict=True)):
        name = f"sub-{number}"
        person.epochs("auditory").save(path / f"{name}_task-sounds_meg-epo.fif")
        # the last one has no label
        age = "n/a" if number == 2 else 30 + 4 * number
        lines += [f"{name}\t{label}\t{age}"] if number < 8 else []
    (path / "participants.tsv").write_text("\n".join(lines) + "\n")
    return path


def test_report(folder, tmp_path, monkeypatch):
    """Participants with their names, a comparison by their labels, who is left out."""
    cheap = evaluation.default_pipelines()
    cheap = {name: cheap[name] for name in ("model features", "band power")}
    asked, read_elements = {}, []
    read = MEGFMTransformer._read
    monkeypatch.setattr(
        MEGFMTransformer,
        "_read",
        lambda self, r: read_elements.append(r.n_elements) or read(self, r),
    )
    monkeypatch.setattr(
        evaluation, "default_pipelines", lambda **kwargs: asked.update(kwargs) or cheap
    )
    given, compare = {}, evaluation.compare
    monkeypatch.setattr(
        evaluation, "compare", lambda *args, **k: given.update(k) or compare(*args, **k)
    )
    # what is made of one recording has its own tests: less of it is enough here
    monkeypatch.setattr("mne_megfm.models._completion._MOST_ROUNDS", 1)
    one = dict([*MASKS.items()][:1])
    less = {
        "MASKS": one,
        "attention_test": partial(attention_test, n_surrogates=19),
        "score_reconstruction": partial(score_reconstruction, masks=one),
    }
    for name, value in less.items():
        monkeypatch.setattr(f"mne_megfm.report._report.{name}", value)
    out = tmp_path / "report.html"
    # the first one has two recordings of the state, which belong together
    first, *others = sorted(folder.glob("*.fif"))
    again = tmp_path / f"run2_{first.name}"
    epochs = mne.read_epochs(first)
    epochs._data *= 1.1
    epochs.save(again)
    args = [first, again, *others, "-o", out, "--title", "Nine people"]
    labels = ["--labels", folder / "participants.tsv", "--label", "group"]
    settings = ["--folds", 2, "--repeats", 1, "--permutations", 0, "--seed", 4]
    settings += ["--random-weights", 0, "--confounds", "age"]
    result = run(*args, *labels, *settings)
    assert result.exit_code == 0, result.output
    assert "Gates of model features, by ROC AUC" in result.output
    assert "better than random weights: NOT TESTED. nothing was" in result.output
    assert "no overlap with pretraining: PASSED. " in result.output
    assert f"Wrote {out}. Not for diagnosis." in result.output
    assert asked == {"weights": "megfm-tiny", "random_state": 4}
    text = out.read_text("utf-8")
    assert "Nine people" in text
    assert "Not a diagnostic device" in text
    # each once: the comparison takes it from the cache
    assert sum(read_elements) == 9
    for number in range(9):
        assert f">sub-{number}</th>" in text
    assert "sounds" in text
    assert [f">{n}<" in text for n in (3, 6)] == [True, True]
    left_out = '>sub-8</th><td class="word">participant</td>'
    assert f'{left_out}<td class="word">no label (n/a)</td>' in text
    assert "8 people are classified correctly" in text
    assert "no age of sub-2, sub-8 (not in participants.tsv" in result.output
    assert "Features of all pipelines are without what is linear in age." in text
    assert "confounds alone" in text
    age = [np.nan if n in (2, 8) else 30.0 + 4 * n for n in range(9)]
    np.testing.assert_array_equal(given["confounds"]["age"], age)
    for title in (
        "At a threshold",
        "Features that differ most",
        "Averages and topographies",
        "Quality of recordings",
        "Attention of the encoder",
    ):
        assert f"<h3>{title}</h3>" in text
    again = run(*args)
    assert again.exit_code == 1
    assert "pass --overwrite" in again.output


def test_called_wrongly(folder, tmp_path):
    (file, *_) = folder.glob("*.fif")
    assert run(file, "-o", tmp_path / "report.pdf").exit_code == 2
    out = ["-o", tmp_path / "report.html"]
    result = run(file, *out, "--confounds", "age")
    assert result.exit_code == 2 and "--labels with --confounds" in result.output
    labels = ["--labels", folder / "participants.tsv"]
    result = run(file, *out, *labels, "--confounds", "age,group")
    assert result.exit_code == 2 and "than that of the labels" in result.output
    result = run(file, *out, *labels, "--confounds", "IQ")
    assert result.exit_code == 1 and "such as group, age, got IQ" in result.output
    assert run("-o", tmp_path / "report.html").exit_code == 2
    result = run(
        file, "-o", tmp_path / "x.html", "--history", folder / "participants.tsv"
    )
    assert result.exit_code == 1
    assert "pass the history.csv of a run" in result.output
    assert not list(tmp_path.iterdir())


def test_first_minute():
    """Of long recordings, a minute is reconstructed."""
    cohort = simulate_cohort(
        1,
        states=("rest", "auditory"),
        raw_states=("rest",),
        arrays=("opm64",),
        n_epochs=70,
        random_state=1,
    )
    raw, epochs = (cohort[0].recordings[name] for name in ("rest", "auditory"))
    assert raw.times[-1] > 65
    assert excerpt(raw).times[-1] == pytest.approx(60.0)
    assert len(excerpt(epochs)) == 60
    evoked = epochs.average()
    assert excerpt(evoked) is evoked
    assert excerpt([evoked, evoked.copy()]) is evoked
    np.testing.assert_array_equal(
        excerpt(raw).get_data(), raw.get_data(stop=excerpt(raw).n_times)
    )
