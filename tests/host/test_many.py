"""A server with as many workers as servers have, in one container: all of them are clients."""

from bench import many_bench

from .conftest import SCALE

WORKERS = int(500 * SCALE)
MOST_MIB = 60  # of memgovd


def test_all_workers_of_a_server_attach_and_answer_one_need(hierarchy, tmp_path):
    result = many_bench.measure(WORKERS, tmp_path)
    assert result["attached"] == WORKERS, result
    assert result["returned"] == WORKERS, result
    assert result["governor_rss_mib"] <= MOST_MIB, result
