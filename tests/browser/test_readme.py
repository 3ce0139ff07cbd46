"""The README's lines for a browser work as they stand."""

import re
from pathlib import Path

from tests.browser.conftest import Learner
from tests.browser.device import Device
from tests.processes import until

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def test_the_readme_sends_a_session_from_a_browser(phone: Device, learner: Learner) -> None:
    (script,) = re.findall(r"```js\n(.*?)```", README, re.DOTALL)
    (session,) = learner.sessions(1)
    page = phone.page()
    # What the text leaves to the reader, and the address of this test.
    page.evaluate(
        """([token, attempts]) => Object.assign(window, {
            attempts, storedToken: () => token, signInAgain: () => null, tell: (title) => { throw title; },
        })""",
        [learner.token, session["attempts"]],
    )
    script = script.replace("https://ds.example", phone.proxy.url).replace('"42"', f'"{learner.number}"')
    imported = re.sub(
        r'import (\{.*\}) from "study-outbox";',
        r'const \1 = await import("/viewer/study-outbox/outbox.js");',
        script,
    )
    assert imported != script
    page.evaluate(f"async () => {{ {imported} }}")
    until(lambda: page.evaluate("() => 1") and phone.proxy.recorded, "it is recorded")
    assert learner.lost(set(phone.proxy.recorded)) == 0
