"""Tests of what all commands share: help, speed, exit codes, verbosity."""

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from mne_megfm.commands import main
from mne_megfm.commands._options import COMMANDS, Command

HEAVY = {"matplotlib", "mne", "numpy", "pandas", "scipy", "sklearn", "torch"}


def run(*args):
    """Run a command in this process."""
    return CliRunner().invoke(main, [str(arg) for arg in args])


def test_help_is_quick():
    """The list of commands needs none of the libraries that the commands need."""
    code = (
        "import json, sys\nfrom mne_megfm.commands import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n"
        "    print(json.dumps([end.code, sorted(sys.modules)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    text, _, last = done.stdout.strip().rpartition("\n")
    code, modules = json.loads(last)
    assert code == 0
    assert not {name.partition(".")[0] for name in modules} & HEAVY
    for name, summary in COMMANDS.items():
        assert name in text
        assert summary in text


def _commands():
    for name in COMMANDS:
        command = main.get_command(None, name)
        if isinstance(command, click.Group):
            for sub in command.commands.values():
                yield (name, sub.name), sub
        else:
            yield (name,), command


@pytest.mark.parametrize("names, command", list(_commands()))
def test_help(names, command):
    """Each command tells what it does, all its options, and examples that parse."""
    result = run(*names, "--help")
    assert result.exit_code == 0
    assert isinstance(command, Command)
    for option in command.params:
        for text in option.opts if option.param_type_name == "option" else ():
            assert text in result.output
    examples = result.output.partition("Examples:")[2]
    assert f"mne-megfm {' '.join(names)}" in examples


def test_summaries_are_those_of_the_commands():
    """The list that is shown without imports says what the commands say."""
    for name, summary in COMMANDS.items():
        assert main.get_command(None, name).help, name
        assert summary.endswith(".")


@pytest.mark.parametrize(
    "args", [["nothing"], ["info", "--nothing"], ["info", "-v", "-q"], ["pretrain"]]
)
def test_called_wrongly(args):
    """Unknown commands and options, and missing arguments, end with 2."""
    result = run(*args)
    assert result.exit_code == 2
    assert "Usage:" in result.output


def test_failed():
    """What fails ends with 1 and one message; with --verbose, with a traceback."""
    result = run("info", "no-such-weights")
    assert result.exit_code == 1
    assert result.output.startswith("Error: Expected the name of bundled weights")
    result = run("info", "no-such-weights", "--verbose")
    assert result.exit_code == 1
    assert isinstance(result.exception, FileNotFoundError)


def test_info():
    """What is installed, or what weights are, in words or as JSON."""
    assert "torch" in run("info").output
    result = run("info", "megfm-tiny")
    assert result.exit_code == 0
    assert "arrays, all read" in result.output
    assert "7300000" in result.output
    config = json.loads(run("info", "megfm-tiny", "--json").output)
    assert config["training"]["name"] == "megfm-tiny"
    assert run("info", "--json").exit_code == 2
    result = run("info", "megfm-tiny", "--plugins")
    assert result.exit_code == 2
    assert "Expected no WEIGHTS with --plugins, got megfm-tiny" in result.output
