"""`optimize`: constant folding, epilogue fusion and weight packing for inference."""

from jaxgroups._optimize.optimize import Optimized as Optimized
from jaxgroups._optimize.optimize import optimize as optimize
