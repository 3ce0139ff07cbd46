"""A device for a test to kill: it adds sessions to an outbox, prints the uuid of each kept one, and sends."""

import json
import sys
import time

import study_outbox.answer
import study_outbox.outbox
import study_outbox.store
from study_outbox import Outbox

# Shorter than in the product: nobody sends the sessions of a killed device until its lease has ended.
study_outbox.store.LEASE = 5.0
study_outbox.outbox.LOOK_AGAIN = 0.5
study_outbox.outbox.LONGEST_RETRY_AFTER = 1.0
study_outbox.answer.LONGEST_PAUSE = 1.0


def main(path: str, url: str, learner: str, token: str) -> None:
    """Add the sessions that arrive as lines of the standard input; send until killed."""
    with Outbox(path, url=url, learner=learner, token=token) as outbox:
        for line in sys.stdin:
            session = json.loads(line)
            outbox.add(session)
            sys.stdout.write(f"{session['client_session_uuid']}\n")
            sys.stdout.flush()
        while True:
            time.sleep(60)


if __name__ == "__main__":
    main(*sys.argv[1:])
