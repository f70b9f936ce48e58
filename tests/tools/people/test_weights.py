"""The weights that come with the package, on people that nobody trained on."""

import numpy as np
import pytest
import torch
from people._bank import make_bank, make_entry
from people._simulator import N_REST, N_TRIALS, FieldBank, simulate

from mne_megfm import CanonicalSensors
from mne_megfm.models import PARAMETERS, PersonStatistics, StateWindows
from mne_megfm.simulation import simulate_cohort
from mne_megfm.weights import POSTERIOR, load_checkpoint, weights_path

_NAMES = [parameter.name for parameter in PARAMETERS]
COUNTS = N_REST, N_TRIALS, N_TRIALS


@pytest.fixture(scope="module")
def reader():
    """Read the weights."""
    path = weights_path("megfm-tiny")
    return POSTERIOR.load(path, load_checkpoint(path).kernel)[0]


@pytest.mark.slow
def test_posterior_of_new_people_is_calibrated(reader):
    """Intervals of 80 % hold 80 % of the truth, with new heads and positions."""
    like = {name: getattr(reader, name).numpy() for name in ("whiten", "place_gain")}
    entries = [make_entry(100_000 + ii) for ii in range(4)]
    bank = FieldBank.of(make_bank(entries, like))
    generator = torch.Generator().manual_seed(5)
    read = PersonStatistics(reader.place_gain, reader.places)
    means, spreads, truth = [], [], []
    for _ in range(6):
        people = simulate(bank, 8, generator)
        found = read(people.data, people.valid, people.times, COUNTS)
        states = torch.ones(8, 3, dtype=torch.bool)
        with torch.no_grad():
            mean, log_var, _ = reader.encoder(reader.encoder.standard(found, states))
        means.append(mean)
        spreads.append((0.5 * log_var).exp())
        truth.append(people.scores)
    mean, spread, truth = (torch.cat(x) for x in (means, spreads, truth))
    inside = ((truth - mean).abs() < 1.2816 * spread).float().mean()
    # 48 people of 60 parameters: a standard error of about 0.01
    assert 0.76 < inside.item() < 0.85
    explained = 1 - (truth - mean).square().sum(0) / truth.var(0).mul(47)
    assert explained.mean() > 0.33
    assert explained[_NAMES.index("alpha_frequency")] > 0.85


@pytest.mark.slow
def test_people_of_the_other_simulator(reader):
    """Traits of participants of the slow simulator are found in their recordings."""
    cohort = simulate_cohort(
        12,
        patients=0.0,
        arrays=("neuromag306", "ctf275"),
        n_epochs=20,
        line_freq=None,
        random_state=11,
    )
    sensors = CanonicalSensors(verbose="error")
    means, traits = [], []
    for person in cohort:
        states = {}
        for name in person.states:
            epochs = person.epochs(name)
            data = torch.from_numpy(sensors.transform(epochs)).float()
            times = torch.from_numpy(epochs.events[:, 0] / epochs.info["sfreq"])
            states[name] = StateWindows(data, epochs.tmin, times)
        with torch.no_grad():
            means.append(reader(states)[0].numpy())
        traits.append(person.truth["traits"])
    means = np.array(means)
    for trait, name, least in (
        ("alpha_frequency", "alpha_frequency", 0.9),
        ("amplitude", "auditory_size", 0.5),
        ("amplitude", "somatosensory_size", 0.5),
    ):
        true = np.log([t[trait] for t in traits])
        found = means[:, _NAMES.index(name)]
        assert np.corrcoef(true, found)[0, 1] > least, name
