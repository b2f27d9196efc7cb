"""Fixtures of the end-to-end tests, see runnel_test/__init__.py."""

import pytest

from runnel_test import World, make_pki


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="the long variants too")
    parser.addoption("--seed", type=int, default=0, help="of the seeded tests, to repeat one")


@pytest.fixture
def long(request):
    """True with --long: more rounds, longer outages."""
    return request.config.getoption("--long")


@pytest.fixture(scope="session")
def _pki(tmp_path_factory):
    made = []

    def get():
        if not made:
            made.append(make_pki(tmp_path_factory.mktemp("pki")))
        return made[0]
    return get


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    world = item.funcargs.get("world") if hasattr(item, "funcargs") else None
    if report.when == "call" and report.failed and world:
        for name, tail in world.logs():
            report.sections.append((f"log of {name}", tail))


@pytest.fixture
def world(tmp_path, _pki):
    made = World(tmp_path, _pki)
    yield made
    made.close()


@pytest.fixture
def broker(world):
    return world.broker()
