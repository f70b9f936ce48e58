"""Hide parts of a recording, predict them, and fill bad channels.

``reconstruct`` gives back the MNE object that it was given, on its own sensors. Here
the recording is *simulated*; with your own, put ``mne.read_epochs`` or
``mne.io.read_raw`` in its place.

Run as ``python examples/reconstruct.py``.
"""

import mne
import numpy as np

from mne_megfm import MEGFMTransformer, simulate_cohort
from mne_megfm.interpret import reconstruct
from mne_megfm.pretraining import TimeBlockMasking


def main():
    """Reconstruct hidden blocks of 300 ms, then two bad channels."""
    mne.set_log_level("error")
    cohort = simulate_cohort(
        1,
        states=("auditory",),
        arrays=("opm64",),
        n_epochs=20,
        filters=(1.0, 40.0),
        random_state=5,
    )
    epochs = cohort.epochs("auditory")[0]
    epochs.info["bads"] = epochs.ch_names[20:22]
    transformer = MEGFMTransformer().fit(epochs)

    # what was hidden is predicted, the rest is as it was
    result, hidden = reconstruct(
        transformer, epochs, TimeBlockMasking(0.3), return_mask=True
    )
    truth, guess = epochs.get_data()[hidden], result.get_data()[hidden]
    r2 = 1 - np.sum((guess - truth) ** 2) / np.sum(truth**2)
    print(f"{hidden.mean():.0%} hidden, R² {r2:.2f} there")

    # without a mask: what a head cannot make goes, and bad channels are filled
    clean = reconstruct(transformer, epochs, fill_bads=True)
    print(f"bad before: {epochs.info['bads']}, after: {clean.info['bads']}")
    print(clean.average())


if __name__ == "__main__":
    main()
