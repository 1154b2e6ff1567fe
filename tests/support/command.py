"""Run the command line in this process, and Python programs in a new one."""

import os
import subprocess
import sys
from pathlib import Path

import jaxgroups
from jaxgroups import cli

_LIMITED = """
import resource, sys
import jaxgroups.cli
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.exit(jaxgroups.cli.main(sys.argv[2:]))
"""


def run(capsys, *argv):
    """Exit status, stdout and stderr of a command line, in this process."""
    try:
        status = cli.main(argv)
    except SystemExit as stop:
        status = stop.code
    return status, *capsys.readouterr()


def python(*arguments, **kw):
    """Run this Python in a new process, with the package that is installed (``-P``).

    The environment is given, since readline, which pytest imports, sets COLUMNS behind Python.
    """
    kw = {"capture_output": True, "text": True, "check": False, "env": dict(os.environ)} | kw
    return subprocess.run([sys.executable, "-P", *arguments], **kw)


def environment():
    """The environment of a new process that is to import the package that is tested here."""
    return os.environ | {"PYTHONPATH": str(Path(jaxgroups.__file__).parent.parent)}


def limited(limit, *argv, cwd):
    """Run a command line in a new process that can write files of at most `limit` bytes."""
    return python("-B", "-c", _LIMITED, str(limit), *argv, cwd=cwd, env=environment())
