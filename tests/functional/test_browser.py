"""Headless Chromium through the proxy, on a page of plain http."""

from __future__ import annotations

import json
import sys
from typing import Any

from twisted.web.static import Data

from tests.functional.harness import FunctionalTestCase, require
from tests.functional.origins import Fixed, tree

PAGE = """\
<!DOCTYPE html>
<html>
<head>
  <meta charset="utf-8">
  <title>loading</title>
  <link rel="stylesheet" href="style.css">
</head>
<body>
  <p id="answer"></p>
  <img id="picture" src="picture.svg" alt="">
  <script src="script.js"></script>
</body>
</html>
"""

SCRIPT = """\
fetch('data.json', {method: 'POST', body: 'question'})
  .then((answer) => answer.json())
  .then((data) => {
    document.getElementById('answer').textContent = data.answer;
    document.title = 'loaded';
  });
"""

PICTURE = b'<svg xmlns="http://www.w3.org/2000/svg" width="7" height="9"></svg>'

BROWSE = """
import json, sys
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

chromium, driver, profile, proxy, url = sys.argv[1:]
options = webdriver.ChromeOptions()
options.binary_location = chromium
for flag in (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", f"--user-data-dir={profile}",
    f"--proxy-server={proxy}", "--proxy-bypass-list=<-loopback>",
):
    options.add_argument(flag)
browser = webdriver.Chrome(options=options, service=Service(driver))
try:
    browser.set_page_load_timeout(45)
    browser.get(url)
    WebDriverWait(browser, 30).until(lambda b: b.title == "loaded")
    print(json.dumps(browser.execute_script('''
        return {
            title: document.title,
            answer: document.getElementById("answer").textContent,
            width: document.getElementById("picture").naturalWidth,
            color: getComputedStyle(document.body).color,
            added: document.body.dataset.added,
        };
    ''')))
finally:
    browser.quit()
"""

ONLY_HERE = """\
from interceptor import http


def http_connect(flow):
    # The browser asks for hosts of its maker's by itself.
    flow.response = http.Response.make(403)


def requestheaders(flow):
    if flow.request.host != "127.0.0.1":
        flow.response = http.Response.make(403)


"""

HOOKS = f"""\
{ONLY_HERE}
def response(flow):
    if flow.request.path == "/":
        flow.response.text = flow.response.text.replace("<body>", '<body data-added="yes">')
"""


class ChromiumTests(FunctionalTestCase):
    timeout = 150

    async def test_a_page_with_its_parts_and_a_request_of_its_script(self):
        chromium = require("chromium", "chromium-browser", "google-chrome")
        driver = require("chromedriver")
        answer = Fixed(b'{"answer": "by script"}', b"application/json")
        site: Any = tree(
            data_json=answer,
            script_js=Data(SCRIPT.encode(), "text/javascript"),
            style_css=Data(b"body { color: rgb(1, 2, 3); }", "text/css"),
            picture_svg=Data(PICTURE, "image/svg+xml"),
        )
        site.putChild(b"", Data(PAGE.encode(), "text/html"))
        origin = await self.start_site(site)
        proxy = await self.start_proxy(scripts=[self.write("hooks.py", HOOKS)])
        completed = await self.check_program(
            sys.executable, "-c", BROWSE, chromium, driver, self.directory / "profile",
            proxy.url, f"{origin.url}/", timeout=120,
        )  # fmt: skip
        self.assertEqual(
            json.loads(completed.out),
            {
                "title": "loaded",
                "answer": "by script",
                "width": 7,
                "color": "rgb(1, 2, 3)",
                "added": "yes",
            },
        )
        self.assertEqual(answer.requests, [b"/data.json"])
