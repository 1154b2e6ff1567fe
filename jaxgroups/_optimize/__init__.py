"""Functions and models for inference: constants folded, epilogues fused, weights packed."""

from jaxgroups._optimize.optimize import Optimized as Optimized
from jaxgroups._optimize.optimize import optimize as optimize
