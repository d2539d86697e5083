import pytest

from tests.browser.lab import launched


@pytest.fixture(scope="module")
def browser():
    with launched() as found:
        yield found
