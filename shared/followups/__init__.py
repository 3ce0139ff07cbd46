"""Follow-ups: what finalize sets in motion, told to a receiver after the commit.

waiting ──► delivered   the receiver has answered 2xx
   │ ▲
   │ └───── tried again: no answer in time, 408, 425, 429 or 5xx
   ├──────► skipped     the session was voided, or nobody is to be told; `last_error` says which
   └──────► dead        the receiver refused it, or its tries are exhausted; `last_error` keeps the answer

At least once: the row's id goes along as `webhook-id`, by which a receiver knows a repeat.
"""
