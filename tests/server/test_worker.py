"""The worker alone, in this thread: what shares a batch, and what leaves it."""

import time

import pytest

from mlx_vedec import generate, load_image
from mlx_vedec.errors import ImageError
from mlx_vedec.reading.generate import settle
from mlx_vedec.server import service
from mlx_vedec.server.access import Access
from mlx_vedec.server.limits import Limits
from mlx_vedec.server.requests import Broken, Closing, Gone, Late, Read, Request, Token
from mlx_vedec.server.worker import Worker
from tests.server.conftest import LINE, LINES

SOON = time.monotonic() + 600  # a deadline that does not come


@pytest.fixture
def rows(reader, monkeypatch):
    """How many rows each step of the decoder had."""
    model, found = reader[0], []
    step = type(model).step

    def counted(own, tokens, cache, mask):
        found.append(len(tokens))
        return step(own, tokens, cache, mask)

    monkeypatch.setattr(type(model), "step", counted)
    return found


def request_for(reader, *lines, **options):
    own = {n: options.pop(n) for n in ("tokens", "boxes", "likeliest", "is_gone") if n in options}
    return Request([*map(load_image, lines)], settle(*reader, options), **own)


def run(worker, *requests):
    """Have requests read that come at once."""
    for request in requests:
        worker.submitted.put(request)
    worker.stop(600)
    worker.run()


def results(request, deadline=SOON):
    return [event.result for event in request.events(deadline) if isinstance(event, Read)]


KINDS = [
    {},
    {"max_tokens": 5},
    {"num_beams": 3, "num_return_sequences": 2},
    {"no_repeat_ngram_size": 2},
    {"temp": 2.0, "seed": 3},
    {"kv_bits": 8, "kv_group_size": 32},
    {"max_kv_size": 20},
    {"num_beams": 2, "do_sample": True, "seed": 4},
]


@pytest.mark.parametrize("max_batch", [4, pytest.param(16, marks=pytest.mark.slow)])
def test_texts_under_load_are_those_of_one_by_one(reader, max_batch):
    asked = [request_for(reader, line, **KINDS[i % 8]) for i, line in enumerate([*LINES, *LINES])]
    run(Worker(*reader, max_batch), *asked)
    singles = [generate(*reader, line, **KINDS[i % 8]) for i, line in enumerate(LINES)]
    for request, single in zip(asked, [*singles, *singles], strict=True):
        [result] = results(request)
        assert result.tokens == single.tokens and result.finish_reason == single.finish_reason
        assert [a.tokens for a in result.alternatives] == [a.tokens for a in single.alternatives]


def test_requests_of_all_options_share_a_batch(reader, rows):
    asked = [request_for(reader, LINE, max_tokens=9 - i) for i in range(8)]
    run(Worker(*reader, 8), *asked)
    assert rows.count(1) >= 8 and 8 in rows and len(rows) < 8 + 10  # one for each prompt, then all


def test_a_client_that_goes_away_frees_its_row_with_the_next_step(reader, rows):
    stays, seen = request_for(reader, LINE), []

    def is_gone():
        seen.append(len(rows))
        return len(rows) > 4

    gone = request_for(reader, LINE, tokens=True, is_gone=is_gone)
    run(Worker(*reader, 8), stays, gone)
    leaves = seen[-1]  # steps that were taken when it was asked the last time
    assert rows[leaves - 1] == 2 and set(rows[leaves:]) == {1}
    assert results(stays)[0].text == "wheel 206,3" and gone.told.qsize() < 7
    with pytest.raises(Gone):
        results(gone)


def test_what_nobody_waits_for_is_not_begun(reader, rows):
    request = request_for(reader, LINE)
    request.cancelled = True
    run(Worker(*reader), request)
    assert rows == [] and request.told.qsize() == 1


def test_requests_take_turns_whatever_they_have(reader):
    """A page of many lines does not keep one line waiting, nor small ones a large one."""
    order = []

    class Told:
        def __init__(self, name):
            self.put = lambda event: order.append(name)

    page = request_for(reader, *LINES * 2)
    line = request_for(reader, LINE)
    beams = request_for(reader, LINE, num_beams=4)
    page.told, line.told, beams.told = Told("page"), Told("line"), Told("beams")
    run(Worker(*reader, 4), page, line, beams)
    assert order.count("page") == 16
    assert order.index("line") < 6 and order.index("beams") < 12


def test_tokens_as_they_are_taken(reader):
    request = request_for(reader, LINE, tokens=True, likeliest=2, temp=1.5, seed=1)
    beside = request_for(reader, LINES[0])
    run(Worker(*reader), request, beside)
    events = [*request.events(SOON)]
    [read] = [event for event in events if isinstance(event, Read)]
    tokens = [event for event in events if isinstance(event, Token)]
    assert events[-1] is read and tuple(token.id for token in tokens) == read.result.tokens
    for token, logprob in zip(tokens, read.result.token_logprobs, strict=True):
        assert token.logprob == pytest.approx(logprob, abs=1e-5) and len(token.likeliest) == 2
        assert token.likeliest[0][1] >= token.likeliest[1][1]
    assert all(isinstance(event, Read) for event in beside.events(SOON))


def test_tokens_of_beams_once_they_agree(reader):
    asked = [request_for(reader, line, tokens=True, num_beams=3) for line in LINES]
    run(Worker(*reader), *asked)
    told = [[*request.events(SOON)] for request in asked]
    for *tokens, read in told:
        assert tuple(t.id for t in tokens) == read.result.tokens[: len(tokens)]
    assert sum(map(len, told)) > len(told)


def test_an_image_that_cannot_be_read_leaves_those_beside_it(reader, monkeypatch):
    request = request_for(reader, LINE, LINES[0])
    processor = reader[1]
    prepared = type(processor).prepared

    def refusing(own, picture, source):
        if picture is request.pictures[0]:
            raise ImageError("not this one")
        return prepared(own, picture, source)

    monkeypatch.setattr(type(processor), "prepared", refusing)
    monkeypatch.setattr("mlx_vedec.reading.image_queue.load_image", lambda picture: picture)
    run(Worker(*reader), request)
    found = {event.image: event.result for event in request.events(SOON)}
    assert str(found[0].error) == "not this one" and found[1].error is None


def failing(monkeypatch, model, when):
    """The decoder fails where its rows are of this number."""
    step = type(model).step

    def maybe(own, tokens, cache, mask):
        if when(len(tokens)):
            raise RuntimeError("out of memory")
        return step(own, tokens, cache, mask)

    monkeypatch.setattr(type(model), "step", maybe)


def test_what_fails_together_is_read_one_by_one(reader, monkeypatch):
    """And nobody is told of a token twice."""
    failing(monkeypatch, reader[0], lambda rows: rows > 2)
    asked = [request_for(reader, line, tokens=True) for line in LINES[:4]]
    run(Worker(*reader), *asked)
    for request, line in zip(asked, LINES, strict=False):
        *tokens, read = request.events(SOON)
        assert read.result.text == generate(*reader, line).text
        assert tuple(token.id for token in tokens) == read.result.tokens


def test_what_fails_alone_is_told(reader, monkeypatch, caplog):
    failing(monkeypatch, reader[0], lambda rows: True)
    request = request_for(reader, LINE)
    run(Worker(*reader), request)
    with pytest.raises(Broken):
        results(request)
    assert "RuntimeError: out of memory" in caplog.text


def test_what_goes_wrong_elsewhere_ends_all_requests(reader, caplog):
    worker = Worker(*reader)
    asked = [request_for(reader, LINE, is_gone=lambda: 1 / 0), request_for(reader, LINE)]
    run(worker, *asked)
    for request in asked:
        with pytest.raises(Broken):
            results(request)
    assert "ZeroDivisionError" in caplog.text


def test_what_is_there_at_the_end(reader):
    worker = Worker(*reader)
    request = request_for(reader, LINE)
    worker.submitted.put(request)
    worker.stop(-1.0)
    worker.run()
    with pytest.raises(Closing):
        results(request)
    with pytest.raises(Closing), worker.reading(request_for(reader, LINE)):
        pass


def test_a_time_that_is_over(reader):
    with pytest.raises(Late):
        results(request_for(reader, LINE), deadline=0.0)  # which nobody reads


def test_options_are_settled_once_while_they_are_new(reader, monkeypatch):
    """However many others were asked for before them."""
    settle_all, settled = service.settle, []

    def counted(*given, **how):
        settled.append(given[2])
        return settle_all(*given, **how)

    monkeypatch.setattr(service, "settle", counted)
    found = service.Service(Worker(*reader), "name", Limits(), Access())
    for most in (*range(1, 50), 49, 48, 1):
        found.settled({"max_new_tokens": most}, grammar=False)
    assert [options["max_new_tokens"] for options in settled] == [*range(1, 50), 1]
    assert len(found._settled) == service.KEPT + 1
