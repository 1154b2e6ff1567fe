"""Checkpoints as files: what is in them, one tensor at a time, numpy in and out.

    with open_checkpoint("model.pth", key="state_dict") as checkpoint:
        checkpoint.infos             # {name: TensorInfo}, from the headers alone
        checkpoint.read("fc.weight")  # one array, its own memory, bit for bit

    write_safetensors("out.safetensors", [(name, info, lambda: array), ...])

Formats, recognised by the first bytes (an index by its suffix). What else a file may be, a Git LFS
pointer or an archive, is told by them too, and a torch file named .safetensors is refused:

* ``safetensors``: 8 bytes of header length, a JSON header, the data. Read by the official library;
  by the header alone where it cannot (float8, complex). ``safetensors.torch.save_model`` stores one
  of several tensors that share memory and leaves ``{dropped: kept}`` in the metadata: the dropped
  names are readable here and listed in `Checkpoint.aliases`. It does not say whether the dropped
  tensor was the whole of the kept one, so whoever knows the expected shape has to check it.
* ``safetensors-index``, ``torch-index``: a ``.json`` that names the shard of every tensor, such as
  ``model.safetensors.index.json``, ``pytorch_model.bin.index.json``, and their variants
  ``*.index.fp16.json``. An index of safetensors leads to safetensors alone.
* ``torch-zip``: what ``torch.save`` writes since torch 1.6, a pickle and the storages in a zip.
* ``torch-legacy``: what it wrote before, pickles and then the storages one after the other.
* ``memory``: a dict, by `from_dict`.

torch's files are read by ``torch.load(weights_only=True)`` where torch is installed, and by the own
reader where it is not, or on demand (``reader="own"``).

What a file must not do, whoever made it:

* *Run code.* The own reader interprets the pickle's opcodes itself, over a closed list of names
  that stand for plain data; no object named by the file is ever imported, called or built. Any
  other name or opcode is an error that names it. `pickle` itself unpickles nothing.
* *Read memory or files that are not its own.* Sizes, offsets and strides are checked against the
  storage, storages against the file, before anything is read; shards lie beside their index.
* *Exhaust memory.* Lengths are compared with what is left of the file before they are believed;
  zip members must be stored uncompressed, as torch does; strides that repeat values may not make
  more than 1 GiB out of a smaller storage; names are not hashed deeper than a flat tuple.
* *Act on a terminal.* What is printed of names, metadata and errors has an escape for each control
  character, line break, bidirectional and invisible character (`jaxgroups._printable`).
* *Pass when damaged.* Truncated files, overlaps, holes, duplicates, storages of another size than
  was announced and big-endian files are errors. Whether values were changed in place no format here
  can tell: none carries checksums that hold.

What is written is complete or not there: a file without a name, read back and compared before it
gets one. Nothing is written through a symbolic link.
"""

from jaxgroups.convert._files.atomic import write_text as write_text
from jaxgroups.convert._files.base import Checkpoint as Checkpoint
from jaxgroups.convert._files.base import CheckpointError as CheckpointError
from jaxgroups.convert._files.base import TensorInfo as TensorInfo
from jaxgroups.convert._files.in_memory import copied as copied
from jaxgroups.convert._files.in_memory import from_dict as from_dict
from jaxgroups.convert._files.open import open_checkpoint as open_checkpoint
from jaxgroups.convert._files.write import write_safetensors as write_safetensors
