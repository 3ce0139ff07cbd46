"""Benchmarks: our figures, compared with the least that the work can cost, and with other designs."""
