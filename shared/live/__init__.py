"""Quiz sessions that are answered live: with the same log, grading and finalize as uploads.

Every function works in its caller's transaction, and takes the time as an argument.
"""
