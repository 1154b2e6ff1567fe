"""Show that a torch module and a Flax module are the same function, with figures.

    proof = prove(torch_module, flax_module, (1, 3, 224, 224))
    print(proof)          # a table with every figure and its tolerance
    proof.verdict         # "equal", "different" or "not proven"

The modules may come from anywhere: a port by hand, by a tool, or by a load of a checkpoint. Neither
is changed.

inputs      random, structured and extreme inputs; other sizes
torch_side  what torch computes: outputs, gradients, steps of SGD
flax_side   the same of the Flax module
mapping     a torch tensor in the layout of its Flax parameter, by the plan of `convert`
tolerance   what rounding may make of equal functions
checks      one file each: structure, outputs, gradients, training
result      the proof: as text, as JSON
"""

from jaxgroups.prove._prove import prove
from jaxgroups.prove._result import Check, Proof

__all__ = ["Check", "Proof", "prove"]
