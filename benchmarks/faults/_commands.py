"""The commands that are killed, what they report, and how that is checked."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from mne_megfm.pretraining import History, find_damage
from mne_megfm.store import WindowStore
from mne_megfm.weights import PARTICIPANT_ENCODER, load_checkpoint

from ._process import LOG


def files_of(folder):
    """Return the contents of all files that a command wrote, but for logs."""
    skipped = {LOG, "lock"}
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name not in skipped
        and "logs" not in path.parts
        and "tensorboard" not in path.parts
    }


def rests_of(folder):
    """Return temporary files and folders: all whose name is hidden."""
    return [path for path in folder.rglob(".*") if not path.name.startswith(".nfs")]


@dataclass
class Command:
    """A command whose one output is a file.

    Attributes
    ----------
    name : str
        What it is called in the table.
    args : list of str
        Its arguments.
    out : str
        What it writes, in the folder where it runs.
    """

    name: str
    args: list
    out: str

    def again(self, folder):
        """Return the arguments that continue, or repeat, the run."""
        return (
            [*self.args, "--overwrite"] if (folder / self.out).exists() else self.args
        )

    def lost(self, folder, said, reference):
        """Return what was reported written and is not there as it should be."""
        reported = f"Wrote {self.out}" in said or f"to {self.out}." in said
        there = (folder / self.out).is_file()
        return [self.out] if reported and not there else []

    def half(self, folder, reference):
        """Return what has its final name and is not whole."""
        out = folder / self.out
        if out.exists() and not self.equal(out, reference / self.out):
            return [self.out]
        return []

    def equal(self, one, other):
        """Tell whether two outputs are the same."""
        return one.read_bytes() == other.read_bytes()

    def differs(self, folder, reference):
        """Return what is not as in the undisturbed run, after the run was continued."""
        found, expected = files_of(folder), files_of(reference)
        wrong = sorted(found.keys() ^ expected.keys())
        return wrong + self.half(folder, reference)


class Fit(Command):
    """A classifier, whose file has a random salt."""

    def equal(self, one, other):
        """Compare what they predict."""
        from mne_megfm.commands.classify import load

        try:
            contents = [load(Path(path)) for path in (one, other)]
        except ValueError:
            return False
        heads = [content["pipeline"][-1] for content in contents]
        return (
            contents[0]["columns"] == contents[1]["columns"]
            and bool((heads[0].coef_ == heads[1].coef_).all())
            and len(contents[0]["people"]["fingerprints"])
            == len(contents[1]["people"]["fingerprints"])
        )


class Prepare(Command):
    """A store: every recording that the log calls written is there."""

    def again(self, folder):
        """Return the same arguments, as it goes on by itself."""
        return self.args

    def lost(self, folder, said, reference):
        """Compare the log with the store."""
        reported = set()
        for log in (folder / self.out / "logs").glob("*.tsv"):
            lines = log.read_text("utf-8").splitlines(keepends=True)
            whole = [line for line in lines if line.endswith("\n")]
            for row in csv.DictReader(whole, delimiter="\t"):
                if row["outcome"] in ("written", "there"):
                    reported.add(row["name"])
        there = set()
        if (folder / self.out / "store.json").is_file():
            there = set(WindowStore.open(folder / self.out).table["name"])
        return sorted(reported - there)

    def half(self, folder, reference):
        """Read everything, and compare it with the undisturbed run, byte by byte."""
        wrong = []
        if (folder / self.out / "store.json").is_file():
            wrong += WindowStore.open(folder / self.out).damaged()
        expected = files_of(reference)
        for name, content in files_of(folder).items():
            final = not Path(name).name.startswith(".")
            if final and expected.get(name) != content:
                wrong.append(name)
        return wrong


class Pretrain(Command):
    """A run: epochs that were reported are in it; the checkpoint is one at any time."""

    def again(self, folder):
        """Return the same arguments, as it goes on by itself."""
        return self.args

    def lost(self, folder, said, reference):
        """Compare epochs that were reported, and the checkpoint, with what is there."""
        out, lost = folder / self.out, []
        epochs = {int(number) for number in re.findall(r"Epoch (\d)/\d: train", said)}
        if epochs:
            kept = out / "run" / "history.csv"
            there = History.from_csv(kept).epoch if kept.is_file() else []
            lost += [f"epoch {number}" for number in sorted(epochs - set(there))]
        if "Wrote the checkpoint" in said and self._differs(out, reference / self.out):
            lost.append("checkpoint")
        return lost

    def half(self, folder, reference):
        """Read the run and the checkpoint, if they are there."""
        out, wrong = folder / self.out, []
        has_weights = (out / "config.json").is_file()
        if has_weights or (out / "run" / "run.safetensors").is_file():
            damage = find_damage(out)
            # without window weights it is no checkpoint yet
            parts = [p for p in damage if has_weights or p == "run"]
            wrong += [part for part in parts if damage[part]]
        if has_weights:
            kernel = load_checkpoint(out).kernel
            if PARTICIPANT_ENCODER.load(out, kernel) is None:
                wrong.append("participant encoder")
        for name in ("history.csv", "run/history.csv"):
            if (out / name).is_file():
                # the header has columns of what was measured, from the first epoch on
                lines = (out / name).read_text().splitlines(keepends=True)[1:]
                expected = (reference / self.out / name).read_text().splitlines(True)
                if lines != expected[1:][: len(lines)]:
                    wrong.append(name)
        return wrong

    def differs(self, folder, reference):
        """Compare weights bit by bit, losses, and the names of all files."""
        found, expected = files_of(folder), files_of(reference)
        wrong = sorted(found.keys() ^ expected.keys())
        for name in ("out/history.csv", "out/run/run.safetensors"):
            if found.get(name) != expected[name]:
                wrong.append(name)
        return wrong + self._differs(folder / self.out, reference / self.out)

    def _differs(self, out, reference):
        one, two = (load_checkpoint(path).state_dict() for path in (out, reference))
        return [name for name in two if not torch.equal(one[name], two[name])]


def make_commands(inputs, reference):
    """Return the commands, with inputs of one folder.

    ``reference`` is where undisturbed runs are: the table and the classifier there are
    inputs of ``classify``.
    """
    weights = ["--weights", f"{inputs}/weights"]
    recordings = f"{inputs}/list.csv"
    rows = [recordings, *weights, "--pooling", "mean"]
    table = f"{reference}/features-parquet/f.parquet"
    labels = ["--labels", f"{inputs}/labels.tsv", "--label", "group"]
    quick = ["--folds", "2", "--repeats", "1", "--permutations", "0"]
    run = [f"{inputs}/store", "out", *weights, "--config", f"{inputs}/settings.toml"]
    fit = ["fit", table, *labels, *quick, "-o", "m.skops"]
    model = f"{reference}/classify-fit/m.skops"
    return [
        Prepare("prepare", ["prepare", recordings, "store"], "store"),
        Pretrain("pretrain", ["pretrain", *run, "--save-minutes", "0"], "out"),
        Command(
            "features-parquet", ["features", *rows, "-o", "f.parquet"], "f.parquet"
        ),
        Command("features-csv", ["features", *rows, "-o", "f.csv"], "f.csv"),
        Fit("classify-fit", ["classify", *fit], "m.skops"),
        Command(
            "classify-predict",
            ["classify", "predict", model, table, "-o", "p.csv"],
            "p.csv",
        ),
        Command(
            "report",
            ["report", f"{inputs}/two.csv", *weights, "-o", "r.html"],
            "r.html",
        ),
    ]
