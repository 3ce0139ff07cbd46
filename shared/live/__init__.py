"""Quiz sessions that are answered live: the same log, the same grading and the same finalize as uploads.

Every function works within its caller's transaction, and takes the clock's reading as an argument.
"""
