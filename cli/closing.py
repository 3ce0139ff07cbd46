"""What the demo says before it runs on: addresses, tokens, and an upload to send oneself."""

import json
import shlex
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from cli.sample import LEARNER, read_sample_catalog
from cli.sender import PATH

QUESTION = "geo-capital-canada"  # the sample's learner has never known it: a right answer is news


def closing_words(environment: Mapping[str, str], token: str, home: Path) -> str:
    """Say where everything is, and how to send an upload with a viewer's token."""
    api = environment["API_URL"]
    look = [sys.argv[0], "progress", "--user", str(LEARNER), "--data-dir", str(home.resolve())]
    return f"""\
It keeps running until Ctrl-C.

   API           {api}
   its docs      {api}/docs
   operators     {api}/ops
   password      {environment["OPS_PASSWORD"]}
   Flower        {environment["FLOWER_URL"]}
   Flower login  {environment["FLOWER_BASIC_AUTH"]}
   viewer token  {environment["VIEWER_SYNC_TOKEN"]}
   study token   {environment["STUDY_API_TOKEN"]}

Send a session yourself; the second time, it is already ingested and shows its result:

{curl_line(api, token)}

Then look at the learner:

{shlex.join(look)}"""


def curl_line(api: str, token: str) -> str:
    """Return a command that sends a new upload: one right answer, given now."""
    (question,) = (each for each in read_sample_catalog().questions if each.pub_id == QUESTION)
    answer = {
        "pub_id": QUESTION,
        "selected": question.correct_choice,
        "unsure": False,
        "answered_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    body = json.dumps({"client_session_uuid": str(uuid4()), "attempts": [answer]})
    headers = (f"Authorization: Bearer {token}", "Content-Type: application/json")
    options = [f"-H {shlex.quote(header)}" for header in headers]
    return " \\\n  ".join([f"curl -sS {api}{PATH}", *options, f"-d {shlex.quote(body)}"])
