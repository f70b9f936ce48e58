"""A transformer to the canonical array: device-independent input for any estimator."""

from __future__ import annotations

from os import PathLike
from typing import Any

import joblib
import mne
import numpy as np
from mne.io import BaseRaw
from mne.utils import _validate_type
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags

from ..inputs import Recording, Recordings, as_recordings
from ..inputs.checks import check_rows, far_off, report_left_out
from ..inputs.reading import read_rows
from ..inputs.windows import Projections
from ..sensors import (
    CanonicalSensorMapping,
    SensorMapping,
    canonical_array,
    compute_mapping,
)
from ..utils.validation import use_verbose

_CHUNK = 20_000  # samples of a Raw that are in memory at a time, beside the result


class CanonicalSensors(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):
    """Map MEG recordings from any array to the canonical virtual array.

    Data from different systems and head positions become signals of the same 192
    virtual magnetometers around the head, in T, at the recording's own sampling rate.
    So any estimator can be trained on one system and used on another.

    Parameters
    ----------
    duration : float
        Length of a row of a Raw (s).
    overlap : float
        Overlap of neighbouring rows of a Raw (s).
    reject_by_annotation : bool
        Whether to leave out rows of a Raw that touch a BAD annotation.
    memory : path-like | joblib.Memory | None
        Where mappings are kept on disk. In memory they are kept in any case.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`; None takes MNE's log level.

    Attributes
    ----------
    infos_ : list of mne.Info
        MEG channels of the recordings seen in ``fit``, one for each geometry.

    See Also
    --------
    mne_megfm.sensors.compute_mapping : The matrices, and how they are made.

    Notes
    -----
    Nothing is learnt from data: ``transform`` works without ``fit``, and each recording
    has its own mapping. A row is an epoch, a window of a Raw or an Evoked; the rows of
    a list are those of its elements, one after the other. Channels that are bad, or
    flat in a row, are left out.

    Examples
    --------
    >>> import mne, numpy as np
    >>> from mne_megfm import CanonicalSensors
    >>> from mne_megfm.simulation import make_array_info
    >>> info = make_array_info("kit157", sfreq=250.0)
    >>> data = 1e-13 * np.random.default_rng(0).standard_normal((4, 157, 50))
    >>> epochs = mne.EpochsArray(data, info, verbose="error")
    >>> sensors = CanonicalSensors()
    >>> sensors.fit_transform(epochs).shape
    (4, 192, 50)
    >>> sensors.transform_inst(epochs).ch_names[:2]
    ['V000', 'V001']
    """

    def __init__(
        self,
        *,
        duration: float = 1.0,
        overlap: float = 0.0,
        reject_by_annotation: bool = True,
        memory: str | PathLike[str] | joblib.Memory | None = None,
        verbose: bool | str | int | None = None,
    ) -> None:
        self.duration = duration
        self.overlap = overlap
        self.reject_by_annotation = reject_by_annotation
        self.memory = memory
        self.verbose = verbose

    @use_verbose
    def fit(self, X: Any, y: Any = None) -> CanonicalSensors:
        """Check the recordings and remember their sensors for the way back.

        Parameters
        ----------
        X : Epochs | Raw | Evoked | MEGSamples | list of these
            The recordings.
        y : None
            Not used.

        Returns
        -------
        self : CanonicalSensors
            The transformer.

        Raises
        ------
        TypeError
            If ``X`` is none of these.
        ValueError
            If data do not look like MEG in tesla, or sensor positions are missing or
            cannot be around a head.
        """
        infos = {}
        for recording in self._recordings(X):
            key = self._mapping(recording.info).key
            if key not in infos:
                picks = mne.pick_types(
                    recording.info, meg=True, ref_meg=True, exclude=()
                )
                infos[key] = mne.pick_info(recording.info, picks, verbose="error")
        self.infos_ = list(infos.values())
        return self

    @use_verbose
    def transform(self, X: Any) -> NDArray[np.float64]:
        """Map recordings to the canonical array.

        Parameters
        ----------
        X : Epochs | Raw | Evoked | MEGSamples | list of these
            The recordings, all rows of one length and sampling rate.

        Returns
        -------
        data : ndarray, shape (n_rows, 192, n_times)
            Signals of the virtual magnetometers (T).

        Raises
        ------
        ValueError
            If rows differ in length or sampling rate, and as for ``fit``.
        """
        recordings = self._recordings(X)
        forms = sorted({(part.n_samples, part.sfreq) for part in recordings})
        if len(forms) > 1:
            listed = ", ".join(f"{n} at {sfreq:g} Hz" for n, sfreq in forms[:5])
            raise ValueError(
                "Expected rows of one length and sampling rate, got rows with samples: "
                f"{listed}; resample and crop the recordings, or transform them one by "
                "one."
            )
        shape = (recordings.n_rows, canonical_array().n_sensors, forms[0][0])
        data = np.empty(shape)
        for recording in recordings:
            self._map_rows(recording, data, recordings.reported)
        return data

    def inverse_transform(
        self, X: NDArray[np.floating], info: mne.Info | None = None
    ) -> NDArray[np.float64]:
        """Map canonical data back to the sensors of a recording.

        Parameters
        ----------
        X : ndarray, shape (..., 192, n_times)
            Canonical signals (T).
        info : mne.Info | None
            Whose sensors to map to. None takes those seen in ``fit``, if all
            recordings had the same.

        Returns
        -------
        data : ndarray, shape (..., n_channels, n_times)
            Signals of all MEG channels, also bad ones, without references
            (T; T/m for planar gradiometers).

        Raises
        ------
        ValueError
            If ``X`` is not canonical data, or ``info`` is needed and missing.
        """
        X = np.asarray(X)
        n_sensors = canonical_array().n_sensors
        if X.ndim < 2 or X.shape[-2] != n_sensors or X.dtype.kind not in "fiu":
            raise ValueError(
                f"Expected real data of shape (..., {n_sensors}, n_times), got shape "
                f"{X.shape} and dtype {X.dtype}; pass what transform gave."
            )
        return self._mapping(self._target(info)).from_canonical @ X

    @use_verbose
    def transform_inst(self, inst: Any) -> Any:
        """Map an MNE object to an MNE object on the canonical array.

        Parameters
        ----------
        inst : Epochs | Raw | Evoked
            The recording. Not changed.

        Returns
        -------
        inst : EpochsArray | RawArray | EvokedArray
            The same times, events, metadata and annotations on 192 virtual
            magnetometers. Other channels are left out, projectors are done with.

        Raises
        ------
        TypeError
            If ``inst`` is not one of these.
        """
        _validate_type(inst, (BaseRaw, mne.BaseEpochs, mne.Evoked), "inst")
        array = canonical_array()
        if isinstance(inst, BaseRaw):
            data = self._map_raw(inst)
        else:
            recordings = as_recordings(inst)
            recording = recordings[0]
            shape = (len(recording.rows), array.n_sensors, recording.n_samples)
            data = np.empty(shape)
            self._map_rows(recording, data, recordings.reported)
            data = data[0] if recording.kind == "evoked" else data
        return _rebuild(inst, data, array.info(inst.info["sfreq"]))

    def inverse_transform_inst(self, inst: Any, info: mne.Info | None = None) -> Any:
        """Map an MNE object on the canonical array back to the sensors of a recording.

        Parameters
        ----------
        inst : Epochs | Raw | Evoked
            Data on the canonical array, as ``transform_inst`` gives.
        info : mne.Info | None
            Whose sensors to map to. None takes those seen in ``fit``, if all
            recordings had the same.

        Returns
        -------
        inst : EpochsArray | RawArray | EvokedArray
            The same on all MEG channels, also bad ones, without references.

        Raises
        ------
        TypeError
            If ``inst`` is not one of these.
        ValueError
            If ``inst`` is not on the canonical array.
        """
        _validate_type(inst, (BaseRaw, mne.BaseEpochs, mne.Evoked), "inst")
        names = canonical_array().ch_names
        if inst.ch_names != names:
            raise ValueError(
                f"Expected the channels {names[0]} to {names[-1]} of the canonical "
                f"array, got {len(inst.ch_names)} channels from {inst.ch_names[0]} on; "
                "pass what transform_inst gave."
            )
        info = self._target(info)
        mapping = self._mapping(info)
        data = inst.data if isinstance(inst, mne.Evoked) else inst.get_data()
        picks = [info["ch_names"].index(name) for name in mapping.all_ch_names]
        target = mne.pick_info(info, picks, verbose="error")
        return _rebuild(inst, mapping.from_canonical @ data, target)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Get the names of the virtual magnetometers.

        Parameters
        ----------
        input_features : None
            Not used.

        Returns
        -------
        names : ndarray of str, shape (192,)
            One name for each row of a sample of the output, V000 on.
        """
        return np.array(canonical_array().ch_names, dtype=object)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.two_d_array = False
        tags.no_validation = True  # MNE objects, checked by as_recordings
        return tags

    def _recordings(self, X: Any) -> Recordings:
        return as_recordings(
            X,
            duration=self.duration,
            overlap=self.overlap,
            reject_by_annotation=self.reject_by_annotation,
        )

    def _mapping(self, info: mne.Info) -> SensorMapping:
        return compute_mapping(info, memory=self.memory)

    def _target(self, info: mne.Info | None) -> mne.Info:
        """Settle whose sensors to map back to."""
        if info is not None:
            return info
        infos = getattr(self, "infos_", [])
        if len(infos) != 1:
            got = f"recordings with {len(infos)} geometries" if infos else "none"
            raise ValueError(
                "Expected info, or a fit on recordings with the same sensors, head "
                f"position and bad channels, got {got}; pass inst.info of the "
                "recording to map back to."
            )
        return infos[0]

    def _map_rows(
        self, recording: Recording, out: NDArray[np.float64], reported: set[str]
    ) -> None:
        """Map the rows of a recording into their places."""
        maps = Projections(recording, CanonicalSensorMapping(self.memory), reported)
        for positions, pieces in read_rows(recording):
            for position, piece in zip(positions, pieces, strict=True):
                row = int(recording.index[position])
                left_out = check_rows(piece.own, recording, row)
                matrix, used = maps.get(*left_out)
                np.matmul(matrix, piece.own[used], out=out[row])

    def _map_raw(self, raw: BaseRaw) -> NDArray[np.float64]:
        """Map a whole Raw, chunk by chunk."""
        chunks = [
            (start, min(start + _CHUNK, raw.n_times))
            for start in range(0, raw.n_times, _CHUNK)
        ]
        # rows are only for the checks; all samples are mapped
        recordings = as_recordings(raw, reject_by_annotation=False)
        recording = recordings[0]
        extremes, far = [], []
        for start, stop in chunks:
            part = raw.get_data(recording.picks, start, stop, verbose="error")
            extremes += [part.min(1), part.max(1)]
            far.append(far_off(part, recording))
        flat, _ = check_rows(np.array(extremes).T, recording, 0)
        # one matrix for all: what is wrong for half of the time is left out
        throughout = np.mean(far, axis=0) >= 0.5
        report_left_out(
            recording, flat, throughout, recordings.reported, throughout=True
        )
        mapping = CanonicalSensorMapping(self.memory)
        maps = Projections(recording, mapping, recordings.reported)
        matrix, used = maps.get(flat, throughout)
        picks = recording.picks[used]
        data = np.empty((len(matrix), raw.n_times))
        for start, stop in chunks:
            part = raw.get_data(picks, start, stop, verbose="error")
            np.matmul(matrix, part, out=data[:, start:stop])
        return data


def _rebuild(inst: Any, data: NDArray[np.float64], info: mne.Info) -> Any:
    """Make an MNE object like another with other channels."""
    with info._unlock():
        for field in ("sfreq", "highpass", "lowpass", "meas_date", "line_freq"):
            info[field] = inst.info[field]
    if isinstance(inst, BaseRaw):
        raw = mne.io.RawArray(data, info, first_samp=inst.first_samp, verbose="error")
        annotations = inst.annotations.copy()
        if inst.info["meas_date"] is None:  # MNE counts them from the first sample
            annotations.onset -= inst.first_time
        return raw.set_annotations(annotations, verbose="error")
    if isinstance(inst, mne.Evoked):
        return mne.EvokedArray(
            data,
            info,
            tmin=inst.tmin,
            comment=inst.comment,
            nave=inst.nave,
            kind=inst.kind,
            baseline=inst.baseline,
            verbose="error",
        )
    epochs = mne.EpochsArray(
        data,
        info,
        events=inst.events,
        tmin=inst.tmin,
        event_id=inst.event_id,
        metadata=inst.metadata,
        selection=inst.selection,
        drop_log=inst.drop_log,
        raw_sfreq=inst._raw_sfreq,  # the rate that events count in
        verbose="error",
    )
    epochs.baseline = inst.baseline  # said, not applied again
    return epochs
