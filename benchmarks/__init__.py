"""The speed of jaxgroups compared with PyTorch and lax: single layers and whole networks.

Run in a checkout: ``python -m benchmarks.ops``, ``python -m benchmarks.models``. The package does
not include the benchmarks, and no test depends on a time.
"""
