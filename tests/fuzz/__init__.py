"""Random problems against independent judges: ``python -m tests.fuzz --seconds 60``.

A case is a dictionary that JSON can hold, drawn by one file for each kind: `kernels`, `transforms`,
`converter`, `files`. The same file checks it. `corpus` has the cases that failed once.

    command   the arguments; starts the process that works, and reports where that fails or dies
    work      draws and checks cases until the time is over
    oracle    convolutions and their gradients in float64, one tap at a time
"""
