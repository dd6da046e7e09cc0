"""Benchmarks side by side: our figure beside the peer's, from the same run on the same machine.

Rules:
- A figure is CPU time by the kernel's own accounting of the process tree under test, divided by what it finished.
- Contenders take turns (A B A B ...) under the same load; a figure is the median of its valid rounds.
- A round with failures, loss or retransmissions beyond its limits is invalid: it is shown as such, never averaged.
- Noise is said: how long the contender's tasks waited for a CPU, and what others burnt meanwhile.
- Everything is on loopback, in 127.77.0.0/16, bounded in count and time; what is started is ended by its process id.
"""
