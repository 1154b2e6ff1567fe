"""The command line and Python programs, run by tests: here or in a process of their own."""

import subprocess
import sys

from jaxgroups import cli


def run(capsys, *argv):
    """Exit status, stdout and stderr of a command line, in this process."""
    try:
        status = cli.main(argv)
    except SystemExit as stop:
        status = stop.code
    return status, *capsys.readouterr()


def python(*arguments, **kw):
    """This Python in a fresh process."""
    kw = {"capture_output": True, "text": True, "check": False} | kw
    return subprocess.run([sys.executable, *arguments], **kw)
