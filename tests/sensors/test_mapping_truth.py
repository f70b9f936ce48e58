"""Field mapping against simulated dipoles, for every system."""

import mne
import numpy as np
import pytest

from mne_megfm.sensors import canonical_array, compute_mapping
from mne_megfm.simulation import make_array_info

ARRAYS = [
    "neuromag306",
    "neuromag122",
    "ctf151",
    "ctf275",
    "kit157",
    "kit160",
    "4d248",
    "opm",
    "opm64",
]
REAL = [
    "vectorview306-audvis-prestim_raw.fif",
    "kit157-auditory_raw.fif",
    "4d248-solaris_raw.fif",
]


def _noise(info):
    planar = [ch["coil_type"] in (2, 3012, 3014) for ch in info["chs"]]
    return np.where(planar, 5e-13, 2e-14)[:, None]


def _check(info, physics, rng):
    """Map the field of unseen dipoles to the canonical array and back."""
    mapping, array = compute_mapping(info), canonical_array()
    dipoles = physics.make_dipoles(rng, info)
    assert len(dipoles.rr) > 100
    sensors = physics.coil_field(info, dipoles)
    truth = physics.point_field(array.pos, array.ori, dipoles)
    names = [info["ch_names"][pick] for pick in physics.positions(info)[0]]
    good = [names.index(name) for name in mapping.ch_names]

    canonical = mapping.to_canonical @ sensors[good]
    assert np.median(physics.correlation(canonical, truth)) > 0.998
    assert physics.correlation(canonical, truth).min() > 0.9
    assert np.median(physics.relative_error(canonical, truth)) < 0.07

    assert mapping.all_ch_names == tuple(names)
    noise = _noise(mne.pick_info(info, physics.positions(info)[0]))
    back = mapping.from_canonical @ canonical
    error = physics.relative_error(back / noise, sensors / noise)
    assert np.median(error) < 0.03
    assert np.quantile(error, 0.95) < 0.05


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("seed", [1, 2])
def test_unseen_dipoles(name, seed, physics, rng):
    """At random head positions the canonical field is the true one, both ways."""
    info = make_array_info(name, head_pos="random", random_state=seed)
    _check(info, physics, rng)


@pytest.mark.parametrize("name", REAL)
def test_real_geometries(name, data_dir, physics, rng):
    """The same for sensors and head positions of real recordings."""
    _check(mne.io.read_info(data_dir / name), physics, rng)


@pytest.mark.slow
def test_systems_agree(physics, rng):
    """A source gives one canonical signal, whichever system sees it."""
    infos = [
        make_array_info(name, head_pos="random", random_state=seed)
        for seed, name in enumerate(ARRAYS)
    ]
    dipoles = physics.make_dipoles(rng, n=400)
    for info in infos:  # far enough from the sensors of all of them
        distance = np.linalg.norm(
            dipoles.rr[:, None] - physics.positions(info)[1][None], axis=-1
        )
        keep = distance.min(1) > 0.03
        dipoles.rr, dipoles.q = dipoles.rr[keep], dipoles.q[keep]
    assert len(dipoles.rr) > 100
    signals = [
        compute_mapping(info).to_canonical @ physics.coil_field(info, dipoles)
        for info in infos
    ]
    for one in range(len(signals)):
        for other in range(one):
            corr = physics.correlation(signals[one], signals[other])
            assert np.median(corr) > 0.995, (ARRAYS[one], ARRAYS[other])


@pytest.mark.slow
@pytest.mark.parametrize(
    "source, target", [("neuromag306", "ctf151"), ("ctf151", "neuromag306")]
)
def test_better_than_interpolate_to(source, target, physics, rng):
    """From one system to another the canonical way beats MNE's own."""
    info = make_array_info(source, head_pos="random", random_state=3)
    dipoles = physics.make_dipoles(rng, info)
    sensors = physics.coil_field(info, dipoles)
    canonical = compute_mapping(info).to_canonical @ sensors
    name = {"neuromag306": "neuromag"}.get(target, target)
    theirs = mne.EvokedArray(sensors, info).interpolate_to(name, origin=(0, 0, 0.04))
    theirs = theirs.get_data(picks=make_array_info(target)["ch_names"])

    def compare(head_pos):
        target_info = make_array_info(target, head_pos=head_pos, random_state=4)
        truth = physics.coil_field(target_info, dipoles)
        ours = compute_mapping(target_info).from_canonical @ canonical
        noise = _noise(target_info)
        return [
            physics.relative_error(field / noise, truth / noise)
            for field in (ours, theirs)
        ]

    # interpolate_to puts the other helmet where the recording's own one is: told the
    # same, ours is better; for a head elsewhere there is no comparison
    our_error, their_error = compare(info["dev_head_t"])
    assert our_error.mean() < 0.75 * their_error.mean()
    assert np.quantile(our_error, 0.95) < 0.6 * np.quantile(their_error, 0.95)
    our_error, their_error = compare("random")
    assert np.quantile(our_error, 0.95) < 0.5 * np.median(their_error)


@pytest.mark.parametrize("name, most", [("neuromag306", 0.45), ("ctf275", 0.8)])
def test_fields_from_outside(name, most, physics, rng):
    """Uniform fields and gradients count for less than the brain where told apart.

    They are told apart where sensors are many, and of two kinds or far from another.
    """
    info = make_array_info(name, head_pos="random", random_state=1)
    noise = _noise(info)
    outside = physics.external_field(info)
    if name == "ctf275":  # perfect gradiometers do not see uniform fields
        outside = outside[:, 3:]
    brain = physics.coil_field(info, physics.make_dipoles(rng, info))
    outside, brain = (
        field / np.linalg.norm(field / noise, axis=0) for field in (outside, brain)
    )
    to_canonical = compute_mapping(info).to_canonical
    size = np.linalg.norm(to_canonical @ outside, axis=0)
    assert size.max() < most * np.median(np.linalg.norm(to_canonical @ brain, axis=0))


def test_noise_is_not_blown_up(rng):
    """Nominal sensor noise stays about as large on the canonical array."""
    for name in ARRAYS:
        info = make_array_info(name)
        noise = _noise(info) * rng.normal(size=(len(info["chs"]), 500))
        mapped = compute_mapping(info).to_canonical @ noise
        assert np.median(mapped.std(1)) < 6e-14, name


def test_canonical_array_maps_to_itself(physics, rng):
    """The canonical array is a system like others."""
    array = canonical_array()
    mapping = compute_mapping(array.info(250.0))
    field = physics.point_field(array.pos, array.ori, physics.make_dipoles(rng))
    assert np.median(physics.relative_error(mapping.to_canonical @ field, field)) < 0.02
    assert (
        np.median(physics.relative_error(mapping.from_canonical @ field, field)) < 0.02
    )
