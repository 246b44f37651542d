"""One server for the tests that ask it, of the bundled model."""

import pytest

from tests.conftest import DATA
from tests.support.readers import reads_again
from tests.support.serving import serving

LINES = sorted((DATA / "lines").glob("*.png"))[:8]
LINE = DATA / "lines" / "seen_006.png"
TEXT = "wheel 206,3"


@pytest.fixture(scope="package")
def reader():
    return reads_again()


@pytest.fixture(scope="package")
def server(reader):
    with serving(*reader, name="bundled") as found:
        yield found
