"""Run the command line in this process, and Python programs in a new one."""

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
    """Run this Python in a new process."""
    kw = {"capture_output": True, "text": True, "check": False} | kw
    return subprocess.run([sys.executable, *arguments], **kw)
