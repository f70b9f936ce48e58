"""Values that a change of the code's structure leaves as they are.

``values.safetensors`` holds features, predictions, reconstructions and the scores of a
comparison for a fixed set of simulated inputs. A change that alters them on purpose
writes the file anew, ``python tests/test_values.py``, and says so in CHANGES.
"""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

FILE = Path(__file__).with_name("values.safetensors")
NAMES = (
    "signals",
    "canonical_signals",
    "epoch_features",
    "epoch_features_random_weights",
    "epoch_features_pretrained_here",
    "participant_features",
    "participant_features_random_weights",
    "participant_statistics",
    "frozen_probabilities",
    "fine_tuned_probabilities",
    "reconstruction",
    "attention",
    "comparison_scores",
)


def _cohort():
    from mne_megfm import simulate_cohort

    return simulate_cohort(
        8,
        states=("auditory", "rest"),
        arrays=("ctf151", "neuromag306"),
        n_epochs=8,
        filters=(1.0, 40.0),
        effect_size=1.5,
        random_state=77,
    )


def make_values():
    """Compute all values.

    Returns
    -------
    values : dict of str to ndarray of float32
        A name for each array.
    """
    from sklearn.linear_model import LogisticRegression

    from mne_megfm import CanonicalSensors, MEGFMClassifier, MEGFMTransformer
    from mne_megfm.estimators import FineTuning, Pretraining
    from mne_megfm.evaluation import compare, default_pipelines
    from mne_megfm.interpret import attention, reconstruct

    cohort = _cohort()
    people = [participant.recordings for participant in cohort.participants]
    labels = np.array([participant.label for participant in cohort.participants])
    auditory = [person["auditory"] for person in people[:2]]
    epochs = auditory[0]
    y = np.arange(len(epochs)) % 2
    values = {
        "signals": np.concatenate(
            [one.get_data(copy=False)[:3, ::20, ::25].ravel() for one in auditory]
        )
        * 1e12,
        "canonical_signals": CanonicalSensors().fit_transform(epochs)[:3, ::8, ::10]
        * 1e12,
        "epoch_features": np.concatenate(
            [
                MEGFMTransformer(sensor_mapping="canonical").fit_transform(one)[:, ::7]
                for one in auditory
            ]
        ),
        "epoch_features_random_weights": MEGFMTransformer(
            weights=None, sensor_mapping="canonical", random_state=3
        ).fit_transform(epochs)[:, ::7],
        "epoch_features_pretrained_here": MEGFMTransformer(
            pretraining=Pretraining(max_epochs=1),
            sensor_mapping="canonical",  # signals as they are, not denoised
            random_state=3,
            batch_size=4,
        ).fit_transform(epochs)[:, ::7],
        "participant_features": MEGFMTransformer().fit_transform(people),
        "participant_features_random_weights": MEGFMTransformer(
            weights=None, random_state=3
        ).fit_transform(people),
        "participant_statistics": MEGFMTransformer(
            aggregation="mean_std"
        ).fit_transform(people)[:, ::31],
        "frozen_probabilities": MEGFMClassifier(class_weight="balanced", random_state=3)
        .fit(people, labels)
        .predict_proba(people),
        "fine_tuned_probabilities": MEGFMClassifier(
            strategy="finetune",
            class_weight="balanced",
            finetuning=FineTuning(max_epochs=3, lr=1e-3),
            batch_size=4,
            random_state=3,
        )
        .fit(epochs, y)
        .predict_proba(epochs),
        "reconstruction": reconstruct(epochs, MEGFMTransformer().fit(epochs)).get_data(
            copy=False
        )[:3, ::20, ::25]
        * 1e12,
        "attention": attention(MEGFMTransformer().fit(epochs), epochs).data,
    }
    pipelines = default_pipelines(LogisticRegression(max_iter=2000))
    for name in ("sum of three kernels", "hand-made measures"):
        del pipelines[name]  # tested by themselves
    result = compare(
        people,
        labels,
        pipelines,
        cv=4,
        n_permutations=0,
        n_random_weights=0,
        random_state=0,
        verbose=False,
    )
    values["comparison_scores"] = result.folds.select_dtypes("number").to_numpy()
    return {
        name: np.ascontiguousarray(value, np.float32) for name, value in values.items()
    }


@pytest.fixture(scope="module")
def values():
    """Compute all values once."""
    return make_values()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_values(values, name):
    """A value is what it was, up to rounding between processors."""
    expected = load_file(FILE)[name]
    # float32 through some hundred layers of sums: processors differ by 1.3e-5 at most
    tolerance = 3e-5 * max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(values[name], expected, rtol=1e-4, atol=tolerance)


if __name__ == "__main__":
    save_file(make_values(), FILE)
