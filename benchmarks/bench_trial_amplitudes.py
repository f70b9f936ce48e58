"""Single-trial amplitudes, beside an oracle filter from hundreds of further trials.

Run as ``python benchmarks/bench_trial_amplitudes.py``; ``--help`` lists the settings.
SIMULATED participants on three arrays have many trials in each state. The amplitudes of
the first are measured as for participants' features
(``participants/response_features.py``), with the bundled weights and with random
weights. The other trials give an oracle filter (a matched filter): the person's
response and the covariance of noise over space and over time. It is a bound for what
pretraining could add to a linear measure of amplitude on these components.

Printed are the mean over the standard deviation of amplitudes over trials, which vary
by themselves, and their correlation with the true amplitude of the largest source.
"""

import argparse
import warnings

import mne
import numpy as np
import torch

from mne_megfm import MEGFMTransformer
from mne_megfm.inputs import as_recordings
from mne_megfm.participants.response_features import single_trial_amplitudes
from mne_megfm.participants.trials import read_trials
from mne_megfm.simulation import simulate_participant

ARRAYS = ("neuromag306", "ctf275", "kit157")
STATES = ("auditory", "somatosensory")
N_SPACE, N_TIME = 16, 12
# share of white noise, so that a covariance of many trials can be inverted
WHITE = 1e-3


def components(transformer, recordings):
    """Give the trials of each state on the axes of space and time."""
    group = as_recordings([recordings])
    level = transformer.participant_encoder_.inputs
    states = read_trials(
        group,
        transformer.sensor_mapping_,
        transformer.config_,
        level,
        transformer.batch_size,
    )
    unit = level.joint.double().square().sum(0).mean().rsqrt()
    joint = level.joint.double() * unit
    return {
        state: (
            one.components.double() / unit,
            joint[:, :N_SPACE].unflatten(0, one.components.shape[1:]),
        )
        for state, one in states.items()
    }


def matched_filter(trials):
    """Find the filter of these trials: their mean, by the inverse of their noise."""
    mean = trials.mean(0)
    noise = trials - mean
    inverses = [torch.eye(size).double() for size in mean.shape]
    for _ in range(3):
        for axis, spec in enumerate(("nst,tu,nvu->sv", "nst,sv,nvu->tu")):
            other = inverses[1 - axis]
            size = len(noise) * len(other)
            covariance = torch.einsum(spec, noise, other, noise) / size
            white = WHITE * covariance.diagonal().mean()
            covariance += white * torch.eye(len(covariance))
            inverses[axis] = torch.linalg.inv(covariance)
    return inverses[0] @ mean @ inverses[1]


def figures(strengths, sizes):
    """Give mean over standard deviation, and the correlation with true sizes."""
    strengths = strengths.numpy()
    return (
        strengths.mean() / strengths.std(ddof=1),
        np.corrcoef(strengths, sizes)[0, 1],
    )


def main():
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--participants", type=int, default=24)
    parser.add_argument("--trials", type=int, default=50, help="that are measured")
    parser.add_argument("--others", type=int, default=550, help="for the filter")
    parser.add_argument("--seed", type=int, default=4322)
    args = parser.parse_args()
    mne.set_log_level("error")
    warnings.simplefilter("ignore")
    n = args.trials
    print(
        f"SIMULATED: {args.participants} participants, arrays {', '.join(ARRAYS)}, "
        f"{n} trials a state, filter of {args.others} others, seed {args.seed}"
    )
    found = {}
    networks = {
        "model": MEGFMTransformer(),
        "random weights": MEGFMTransformer(None, random_state=args.seed),
    }
    for number in range(args.participants):
        person = simulate_participant(
            number,
            array=ARRAYS[number % len(ARRAYS)],
            states=STATES,
            n_epochs=dict.fromkeys(STATES, n + args.others),
            filters=(1.0, 40.0),
            random_state=args.seed,
        )
        for network, transformer in networks.items():
            if not hasattr(transformer, "participant_encoder_"):
                transformer.fit([person.recordings])
            known = components(transformer, person.recordings)
            for state, (trials, joint) in known.items():
                sources = person.truth["states"][state]["sources"]
                largest = max(sources, key=lambda source: source.moment)
                sizes = largest.trial_gain[:n]
                expected = torch.zeros(trials.shape[1:]).double()
                strengths = single_trial_amplitudes(trials[:n], expected, joint)
                found.setdefault(network, []).append(figures(strengths, sizes))
                if network == "model":
                    few = trials[:, :N_SPACE, :N_TIME]
                    for name, all_ in (
                        (f"matched, {N_SPACE} x {N_TIME} axes", few),
                        ("matched, all axes", trials),
                    ):
                        strengths = (all_[:n] * matched_filter(all_[n:])).sum((1, 2))
                        found.setdefault(name, []).append(figures(strengths, sizes))
    reference = np.array(found["model"])
    print(f"{'':24} mean / SD   (SD)   r true   model ahead in, of {len(reference)}")
    for name, rows in found.items():
        rows = np.array(rows)
        ahead = (reference > rows).sum(0)
        mean, spread = rows.mean(0), rows[:, 0].std(ddof=1)
        print(
            f"{name:24} {mean[0]:9.2f} ({spread:.2f}) {mean[1]:7.2f}"
            f"   {ahead[0]} and {ahead[1]}"
        )


if __name__ == "__main__":
    main()
