"""Checkpoint files, read and written one tensor at a time, as NumPy arrays.

    with open_checkpoint("model.pth", key="state_dict") as checkpoint:
        checkpoint.infos             # {name: TensorInfo}, from the headers
        checkpoint.read("fc.weight")  # a new array, bit for bit

    write_safetensors("out.safetensors", [(name, info, lambda: array), ...])

Formats are recognised by the first bytes, an index by its suffix. Other files, such as a Git LFS
pointer or an archive, are refused with an explanation, and so is a torch file named .safetensors.

* ``safetensors``: 8 bytes of header length, a JSON header, the data. Read by the official library;
  by its header where the library cannot (float8, complex). ``safetensors.torch.save_model`` stores
  one of several tensors that share memory and writes ``{dropped: kept}`` into the metadata. The
  dropped names can be read and are listed in `Checkpoint.aliases`. The metadata do not tell whether
  a dropped tensor was all of the kept one, so a caller who knows its shape must check it.
* ``safetensors-index``, ``torch-index``: a ``.json`` that names the shard of every tensor, such as
  ``model.safetensors.index.json``, ``pytorch_model.bin.index.json``, and their variants
  ``*.index.fp16.json``. An index of safetensors can name safetensors files only.
* ``torch-zip``: what ``torch.save`` writes since torch 1.6, a pickle and the storages in a zip.
* ``torch-legacy``: the format before, pickles followed by the storages.
* ``memory``: a dict, by `from_dict`.

torch's files are read by a reader of jaxgroups (``reader="own"``), which does not need torch. On
request they are read by ``torch.load(weights_only=True)`` (``reader="torch"``), after the own
reader has checked the file, or by Python's `zipfile` (``reader="zipfile"``), which finds the bytes
of a name in another way and unpacks compressed members. `open_otherwise` uses another reader than a
given one, for comparisons.

Any file may be malicious. It must not:

* *Run code.* The own reader interprets the pickle's opcodes itself, with a closed list of names
  for plain data; no object that the file names is imported, called or built. Any other name becomes
  an opaque value, which is an error if it is needed or contains tensors, and is skipped otherwise.
  Names that files use to run code, and opcodes that data do not need, are errors. The module
  `pickle` is not used.
* *Read other memory or files.* Sizes, offsets and strides are checked against the storage, storages
  against the file, before anything is read; shards must be in the folder of their index.
* *Exhaust memory.* Lengths are compared with the rest of the file before they are used. The objects
  of a pickle take at most 64 MiB and 64 bytes for each byte of the pickle (`pickle_budget`). Zip
  members must be stored uncompressed, as torch does; `zipfile` unpacks a smaller member to at most
  1 GiB, and a pickle to at most the size of the file or 1 MiB. Strides that repeat values may
  expand a smaller storage to at most 1 GiB; keys are hashed only if they are flat tuples.
* *Control a terminal.* Control characters, line breaks, bidirectional and invisible characters are
  escaped in printed names, metadata and errors (`jaxgroups._printable`).
* *Be damaged without an error.* Truncated files, overlaps, holes, duplicates, storages that are
  missing or have another size than announced, and big-endian files are errors. The checksums of a
  zip are compared for its pickle, and for a storage that one tensor fills (by `zipfile` for every
  storage; ``torch.load`` compares none). Other formats have no checksums, so changed values are not
  detected.

A file is written without a name, read back and compared before it gets its name, so it is complete
or does not exist. Nothing is written through a symbolic link.
"""

from jaxgroups.convert._files.atomic import write_text as write_text
from jaxgroups.convert._files.base import Checkpoint as Checkpoint
from jaxgroups.convert._files.base import CheckpointError as CheckpointError
from jaxgroups.convert._files.base import TensorInfo as TensorInfo
from jaxgroups.convert._files.in_memory import copied as copied
from jaxgroups.convert._files.in_memory import from_dict as from_dict
from jaxgroups.convert._files.open import open_checkpoint as open_checkpoint
from jaxgroups.convert._files.open import open_otherwise as open_otherwise
from jaxgroups.convert._files.write import write_safetensors as write_safetensors
