"""Quiz sessions that are answered live: graded and finalized by the same code as uploaded ones.

Every function works in its caller's transaction, and gets the present time, if needed, as an argument.
"""
