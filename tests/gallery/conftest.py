import pytest

from entrokit.gallery import cards, gathered
from entrokit.papers.results import MEASURED


@pytest.fixture(scope="session")
def ours():
    return cards(*gathered(MEASURED))
