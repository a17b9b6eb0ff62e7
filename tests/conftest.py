"""What all tests share: which of them need the real catalogue, a browser or much time, and a clean environment."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from postgres_server import PostgresServer, find_obstacle

pytest_plugins = ["review_fixtures", "serving_fixtures"]
ARCHIVE = "fashion-product-images-small.zip"
# Installed by `scripts/test-tools` only, which runs these tests.
TOOLS = Path(__file__).resolve().parents[1] / ".venv-tools" / "bin" / "python"
# Installed by `scripts/install --dev`, for tests alone.
AXE = Path(__file__).resolve().parents[1] / ".venv" / "node_modules" / "axe-core" / "axe.min.js"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Read before any test can change the environment.
IS_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")
NAMED_DATA = os.environ.get("HANGTAG_DATA")
DATA = Path(NAMED_DATA) if NAMED_DATA else Path(__file__).resolve().parents[2] / "shared" / "data"


# A slow machine fails no test, and every run tries the same examples.
settings.register_profile("hangtag", deadline=None, derandomize=True)
settings.load_profile("hangtag")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-slow", action="store_true", help="run the tests that take minutes too")
    parser.addoption("--run-chaos", action="store_true", help="run the attacks of tests/chaos in full too")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that asks for the `archive` fixture needs the archive, marked or not."""
    for item in items:
        if "archive" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.archive)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("slow") and not item.config.getoption("--run-slow"):
        pytest.skip("takes minutes; run it with --run-slow")
    if item.get_closest_marker("chaos") and not item.config.getoption("--run-chaos"):
        pytest.skip("an attack in full; run it with --run-chaos, or scripts/chaos")
    if item.get_closest_marker("tools") and not TOOLS.exists():
        pytest.skip("needs the loaders of other tools; run scripts/test-tools")
    if item.get_closest_marker("archive") and not (DATA / ARCHIVE).is_file():
        _do_without(f"the real catalogue is not at {DATA / ARCHIVE}; HANGTAG_DATA names another folder")
    if item.get_closest_marker("browser") and not any(map(shutil.which, BROWSERS)):
        _do_without(f"there is no browser: none of {', '.join(BROWSERS)}")
    if item.get_closest_marker("axe") and not AXE.is_file():
        _do_without("axe-core is not in .venv; scripts/install --dev installs it with npm")


def _do_without(reason: str) -> None:
    """Skip a test that this machine cannot run; where everything must be tested, that is a failure."""
    if IS_CI:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def archive() -> Path:
    """The real catalogue, a .zip that is read in place."""
    return DATA / ARCHIVE


@pytest.fixture(scope="session")
def tools_python() -> Path:
    """The Python that has the loaders of other tools."""
    return TOOLS


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, which checks the accessibility of a page."""
    return AXE.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server of PostgreSQL, started for these tests."""
    if obstacle := find_obstacle():
        _do_without(obstacle)
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def clear_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take hangtag's own variables away, and those of PostgreSQL, so that a person's settings change no test."""
    for name in list(os.environ):
        if name.startswith(("HANGTAG_", "PG")):
            monkeypatch.delenv(name)
