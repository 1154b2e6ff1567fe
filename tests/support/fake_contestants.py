"""Contestants for the tests of the workers: they compute nothing and say what happened."""

import os
import threading
import time
from pathlib import Path

import numpy as np


def prepare(request):
    """A call that counts itself in a file, or what the request asks for under its name."""
    asked = request.get(request.get("contestant", ""), {})
    print("noise on standard output")
    if "absent" in asked:
        return asked["absent"]
    if "raise" in asked:
        raise ValueError(asked["raise"])
    if "end" in asked:
        os._exit(3)
    if "spin" in asked:
        path = Path(asked["spin"])

        def spin():
            while not path.exists():
                pass

        threading.Thread(target=spin, daemon=True).start()
    log = request.get("log")

    def call():
        if log is not None:
            with open(log, "a") as file:
                print(request["contestant"], file=file)
        time.sleep(0.0005)

    values = [np.asarray(array, "float32") for array in asked.get("values", [[1, 2], [3]])]
    notes = {"pid": os.getpid(), "variable": os.environ.get("OF_A_CONTESTANT")}
    return call, lambda: values, notes
