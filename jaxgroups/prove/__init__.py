"""Compare a torch module and a Flax module numerically: are they the same function?

    proof = prove(torch_module, flax_module, (1, 3, 224, 224))
    print(proof)          # a table with every figure and its tolerance
    proof.verdict         # "equal", "different" or "not proven"

The Flax module may be written by hand or by `jaxgroups.port`. Neither module is changed.

inputs      random, structured and extreme inputs; other sizes
torch_side  outputs, gradients and SGD steps of the torch module
flax_side   the same of the Flax module
layout      the order of axes of inputs and outputs in torch and in Flax
mapping     torch tensors in the layout of their Flax parameters, by the plan of `convert`
tolerance   the differences that rounding explains
structure, outputs, gradients, training   the checks
result      the proof: as text, as JSON
"""

from jaxgroups.prove._prove import prove
from jaxgroups.prove._result import Check, Proof

__all__ = ["Check", "Proof", "prove"]
