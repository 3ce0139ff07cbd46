"""Ratios: what we reach beside the least that the work can cost, and beside other designs."""
