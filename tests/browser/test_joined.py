"""What a notebook saves of each view's code is one module of its own: it loads with nothing around it."""

import pytest

from lmlab.widgets.kit import FOLDER, joined

pytestmark = pytest.mark.browser
LOAD = """async (text) => {
    const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
    return typeof (await import(url)).default.render;
}"""


@pytest.mark.parametrize("file", sorted(path.name for path in FOLDER.glob("*.js") if path.name != "kit.js"))
def test_a_joined_file_is_a_module_that_asks_for_nothing(browser, file):
    page, errors, requests = browser.new_page(), [], []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    try:
        page.goto("about:blank")
        assert page.evaluate(LOAD, joined(file)) == "function"
    finally:
        page.close()
    assert not errors
    assert not [url for url in requests if not url.startswith("blob:")]
