"""How fast jaxgroups is beside PyTorch and lax: single layers and whole networks.

Run from a checkout: ``python -m benchmarks.ops``, ``python -m benchmarks.models``. Nothing here is
installed with the package, and nothing here is a test: a time decides nothing by itself.
"""
