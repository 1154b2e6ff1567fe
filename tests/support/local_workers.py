"""Contestants of the benchmarks in the process of a test, in place of workers."""

import tempfile
from pathlib import Path

from benchmarks import worker
from benchmarks.turns import Turns, Workers, take_turns


class LocalWorkers(Workers):
    """Prepares and times by the same code as the workers, but starts no process."""

    def __init__(self, starts):
        dict.__init__(
            self, {name: worker.Session(worker.loaded(s.target)) for name, s in starts.items()}
        )
        self._folder = tempfile.TemporaryDirectory()
        self.folder = Path(self._folder.name)

    pids = ()

    def close(self):
        self._folder.cleanup()

    def prepare(self, name, request):
        path = self.folder / "results.npz"
        return self._received(self[name].answer({"prepare": request, "results": str(path)}), path)

    def take_turns(self, names, how: Turns):
        def of(name):
            return lambda how: self[name].answer(how.request())

        return take_turns({name: of(name) for name in names}, how)
