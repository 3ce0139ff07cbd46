"""Quiz sessions that are answered live: with the same log, grading and finalize as uploads.

Every function works in its caller's transaction, and gets the present time, if needed, as an argument.
"""
