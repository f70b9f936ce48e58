"""What a fitted encoder gives: predictions, sources, scores, checkpoints."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from ..models import bold
from ..utils.validation import use_verbose
from ._checkpoint import KnownPerson, load_encoder, save_encoder
from ._hemodynamics import hrf_basis, scan_samples
from ._recordings import (
    NANO,
    Person,
    check_stimulus,
    keep_modalities,
    oriented_gain,
    prepare_people,
)
from ._scores import correlation_table
from ._source_space import SourceSpace, source_estimate


class FittedSources:
    """Methods of a ``LatentSourceEncoder`` after `fit`.

    They need ``network_``, ``space_``, ``people_`` and ``n_features_in_``, and the
    parameters ``sfreq``, ``orientation``, ``modalities`` and ``fmri_response``.
    """

    # -- prediction --------------------------------------------------------------------
    def _components(self, features: NDArray) -> NDArray[np.float64]:
        """Compute components in double precision."""
        network = self.network_
        with torch.no_grad():
            x = torch.as_tensor(
                features, dtype=torch.float64, device=network.mean.device
            )
            try:
                return network.double().eval()(x[None])[0].cpu().numpy()
            finally:
                network.float()

    def _sources(self, features: NDArray) -> NDArray[np.float64]:
        """Give courses of sources in nAm, shape (n_rows, n_times)."""
        maps = self.network_.maps.detach().cpu().double().numpy()
        return maps @ self._components(features).T

    def _bold(self, features: NDArray, hrf: NDArray, at: NDArray) -> NDArray:
        """Compute the haemodynamic response, shape (n_scans, n_sources)."""
        network = self.network_
        kernel = hrf @ hrf_basis(self.sfreq)
        with torch.no_grad():
            z = torch.as_tensor(self._components(features)).to(network.maps.device)
            try:
                out = bold(
                    network.double(),
                    z,
                    torch.as_tensor(kernel[None]).to(z.device),
                    torch.as_tensor(at).to(z.device),
                    self.fmri_response,
                )
            finally:
                network.float()
        return out[0].cpu().numpy()

    def predict(
        self,
        stimulus: Any,
        participant: str | None = None,
        *,
        forward: mne.Forward | None = None,
        modality: str = "meg",
        whitened: bool = False,
        tr: float | None = None,
        fmri_start: float = 0.0,
        n_scans: int | None = None,
    ) -> Any:
        """Predict the MEG or fMRI of a person.

        Parameters
        ----------
        stimulus : dict of array | array
            Features, as for `fit`.
        participant : str | None
            A person of training. None predicts for a new one: MEG from `forward`, fMRI
            with the mean haemodynamic response and scale of those in training.
        forward : mne.Forward | None
            Forward solution of a new person, or another one of a known person.
        modality : 'meg' | 'fmri'
            What to predict.
        whitened : bool
            Give whitened MEG (known people).
        tr : float | None
            Time between scans in s; None is the person's.
        fmri_start : float
            Time of the first scan in s.
        n_scans : int | None
            How many scans; None fills the stimulus.

        Returns
        -------
        predicted : array | dict of array
            MEG of shape (n_times, n_channels), in SI units, for the channels of
            ``people_[participant].ch_names`` or of `forward`; or fMRI of shape
            (n_scans, n_sources), in the units of training, without a mean. A dict for
            a dict.

        Raises
        ------
        ValueError
            If the person is not known, or has no such recordings.
        """
        check_is_fitted(self)
        single = not isinstance(stimulus, Mapping)
        stimulus = check_stimulus(stimulus, self.n_features_in_)
        if modality == "meg":
            matrix = self._meg_matrix(participant, forward, whitened)
            out = {s: self._sources(x).T @ matrix.T for s, x in stimulus.items()}
        elif modality == "fmri":
            hrf, scale, own_tr = self._fmri_head(participant)
            tr = own_tr if tr is None else tr
            out = {}
            for story, x in stimulus.items():
                n = n_scans
                if n is None:
                    n = int((len(x) / self.sfreq - fmri_start) / tr + 1e-9)
                at = scan_samples(n, tr, fmri_start, self.sfreq)
                out[story] = scale * self._bold(x, hrf, at)
        else:
            raise ValueError(f"Expected modality 'meg' or 'fmri', got {modality!r}.")
        return next(iter(out.values())) if single else out

    def _meg_matrix(self, participant, forward, whitened) -> NDArray[np.float64]:
        if forward is not None:
            self.space_.check_same(SourceSpace.of(forward), participant or "forward")
            gain = (
                NANO
                * oriented_gain(forward, self.orientation, participant or "forward")[1]
            )
            if whitened:
                raise ValueError(
                    "Expected whitened=False with a forward solution, which has no "
                    "noise covariance; give participant alone."
                )
            return gain
        person = self._known(participant)
        if person.gain is None:
            raise ValueError(
                f"Expected a person with MEG, got {participant!r}; give forward=."
            )
        return person.whitener @ person.gain if whitened else person.gain

    def _known(self, participant: str | None) -> KnownPerson:
        if participant not in self.people_:
            raise ValueError(
                f"Expected participant as one of {', '.join(self.people_)}, got "
                f"{participant!r}; give forward= for another person."
            )
        return self.people_[participant]

    def _fmri_head(self, participant):
        if participant is not None and participant in self.people_:
            people = [self._known(participant)]
        else:
            people = list(self.people_.values())
        people = [p for p in people if p.scale is not None]
        if not people:
            raise ValueError(
                f"Expected a person with fMRI, got {participant!r}; None takes the "
                "mean of all who have fMRI."
            )
        # a haemodynamic response is known up to its size
        hrf = np.mean([p.hrf / p.hrf[0] for p in people], axis=0)
        scale = np.mean([p.scale * p.hrf[0] for p in people], axis=0)
        return hrf, scale, people[0].tr

    def estimate_sources(self, stimulus: Any) -> Any:
        """Estimate the sources of a stimulus.

        Parameters
        ----------
        stimulus : dict of array | array
            Features, as for `fit`.

        Returns
        -------
        stc : mne.SourceEstimate | mne.VectorSourceEstimate | dict
            Currents in A m; a volume estimate for a volume. Vector estimates with
            free orientation. A dict for a dict.

        Raises
        ------
        ValueError
            If no person had a forward solution, so that there are no sources.
        """
        check_is_fitted(self)
        if self.space_.kind == "regions":
            raise ValueError(
                "Expected an encoder with a source space, got one of regions, whose "
                "places are not known; give forward solutions to fit, or use "
                "predict(..., modality='fmri')."
            )
        single = not isinstance(stimulus, Mapping)
        out = {}
        for story, features in check_stimulus(stimulus, self.n_features_in_).items():
            data = NANO * self._sources(features)
            if self.orientation == "free":
                data = data.reshape(self.space_.n_sources, 3, -1)
            out[story] = source_estimate(data, self.space_, self.sfreq)
        return next(iter(out.values())) if single else out

    def hrf_delays(self) -> pd.Series:
        """Give the delay of each person's haemodynamic response.

        Returns
        -------
        delays : Series
            In s, relative to Glover's response, of each person with fMRI: minus the
            weight of the time derivative over that of the response.
        """
        check_is_fitted(self)
        delays = {
            name: -p.hrf[1] / p.hrf[0]
            for name, p in self.people_.items()
            if p.scale is not None
        }
        return pd.Series(delays, name="delay", dtype=float)

    # -- scores ------------------------------------------------------------------------
    @use_verbose
    def evaluate(
        self, stimulus: Any, recordings: Mapping[str, Mapping[str, Any]]
    ) -> pd.DataFrame:
        """Correlate predictions with recordings at each sensor and source.

        Parameters
        ----------
        stimulus : dict of array | array
            As for `fit`.
        recordings : dict of dict
            As for `fit`; also of people who were not in training.

        Returns
        -------
        table : DataFrame
            Columns ``participant``, ``modality``, ``name``, ``correlation``,
            ``ceiling``, ``normalized`` (correlation over ceiling); the last two are NaN
            without repeats.
        """
        check_is_fitted(self)
        stimulus = check_stimulus(stimulus, self.n_features_in_)
        people = prepare_people(
            keep_modalities(recordings, self.modalities),
            stimulus,
            self.sfreq,
            self.orientation,
            self.space_,
        )

        def predict(person: Person, modality: str, story: str) -> NDArray:
            features = stimulus[story]
            if modality == "meg":
                return self._sources(features).T @ person.gain.T
            known = self.people_.get(person.name)
            name = person.name if known and known.scale is not None else None
            hrf, scale, _ = self._fmri_head(name)
            return scale * self._bold(features, hrf, person.fmri[story].at)

        return correlation_table(people, predict)

    def score(
        self, stimulus: Any, recordings: Mapping[str, Mapping[str, Any]]
    ) -> float:
        """Give the mean correlation with MEG, or with fMRI where there is no MEG.

        Parameters
        ----------
        stimulus : dict of array | array
            As for `fit`.
        recordings : dict of dict
            As for `fit`.

        Returns
        -------
        score : float
            Mean over sensors, then over people.
        """
        table = self.evaluate(stimulus, recordings)
        kind = "meg" if (table["modality"] == "meg").any() else "fmri"
        table = table[table["modality"] == kind]
        return float(table.groupby("participant")["correlation"].mean().mean())

    # -- checkpoints -------------------------------------------------------------------
    def save(self, directory: str | os.PathLike, *, overwrite: bool = False) -> Path:
        """Write a checkpoint: arrays as safetensors, the rest as JSON with hashes.

        Parameters
        ----------
        directory : path-like
            The folder; made if needed.
        overwrite : bool
            Whether to replace a checkpoint that is there.

        Returns
        -------
        directory : Path
            The folder.

        Raises
        ------
        FileExistsError
            If there is a checkpoint and `overwrite` is False.
        """
        check_is_fitted(self)
        return save_encoder(self, directory, overwrite)

    @classmethod
    def load(cls, directory: str | os.PathLike) -> Any:
        """Read a checkpoint.

        Parameters
        ----------
        directory : path-like
            A folder that `save` wrote.

        Returns
        -------
        encoder : LatentSourceEncoder
            As it was, on the CPU.

        Raises
        ------
        FileNotFoundError
            If there is no checkpoint.
        ValueError
            If it is damaged.
        """
        return load_encoder(cls, directory)
