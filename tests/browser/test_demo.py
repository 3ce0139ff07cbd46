"""`demo` as a learner meets it: its sign-in link, a session answered offline, and what the operators see."""

import os
import re
import signal
import subprocess

import httpx
from playwright.sync_api import Playwright, expect

from tests.chromium import FLAGS, program
from tests.processes import PATIENCE_S, reachable_directory, until
from tests.up import COMMAND


def test_a_session_answered_offline_reaches_operators_and_progress(
    playwright: Playwright, database_url: str, broker_url: str
) -> None:
    chromium = program()
    with reachable_directory() as home, (home / "said").open("wb") as output:
        command = [COMMAND, "demo", "--data-dir", str(home / "data"), "--port", "0"]
        environment = os.environ | {"DATABASE_URL": database_url, "BROKER_URL": broker_url}
        demo = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        said = (home / "said").read_text
        try:
            until(lambda: demo.poll() is not None or "Then look" in said(), "the demo has shown everything")
            (link,) = re.findall(r"quiz page +(\S+)", said())
            (password,) = re.findall(r"password +(\S+)", said())
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            context = browser.new_context()
            page = context.new_page()
            page.goto(link)
            page.get_by_role("heading", name="Choose a topic").wait_for()
            page.evaluate("() => navigator.serviceWorker.ready.then(() => undefined)")
            context.set_offline(True)
            page.reload()
            page.get_by_role("button", name="History").click()
            for key in "1234":
                page.keyboard.press(key)
                page.keyboard.press("Enter")
            page.get_by_role("button", name="Finish now").click()
            expect(page.locator("#sessions .state")).to_have_text(["waiting"])
            uuid = page.locator("#sessions li[data-id]").get_attribute("data-id")
            context.set_offline(False)
            expect(page.locator("#sessions .state")).to_have_text(["sent"])
            expect(page.locator("#sessions .why")).to_contain_text("correct")
            browser.close()
            with httpx.Client(
                base_url=link.partition("/viewer/")[0], trust_env=False, timeout=PATIENCE_S
            ) as web:
                web.post("/ops/login", data={"password": password, "name": "test"})
                shown = web.get(f"/ops/uploads/{uuid}")
                assert shown.status_code == 200
                assert "ingested" in shown.text
            look = [COMMAND, "progress", "--user", "42", "--data-dir", str(home / "data")]
            progress = subprocess.run(look, capture_output=True, text=True, check=True).stdout
            assert progress.count('"his-') >= 4
        finally:
            demo.send_signal(signal.SIGINT)
            demo.wait(PATIENCE_S)
