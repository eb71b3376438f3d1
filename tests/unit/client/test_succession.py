"""What a session that goes on elsewhere keeps in order: numbers, credits, patience."""

from __future__ import annotations

from dataclasses import replace

from parlante.client import Frame, ParlanteClient
from parlante.client.link import Link, Progress, Way
from parlante.client.stall import STALL_S, StallWatch

FRAME_US = 40_000


def _frame(seq: int, index: int) -> Frame:
    return Frame(
        seq=seq,
        media_offset_us=index * FRAME_US,
        data=b"",
        key_frame=True,
        idle=False,
        utterance_id="",
        dropped_frame_count=index + 1 - seq,
    )


def _link() -> Link:
    def open_call(avoid: str) -> Way:
        raise AssertionError(avoid)

    return Link(open_call)


def test_numbers_of_the_next_server_go_on_where_the_last_one_ended() -> None:
    """It was told of 14 frames; the last one sent 16 of them before it was left."""
    link = _link()
    assert link.numbered(_frame(17, 16), expected_seq=17) == _frame(17, 16)
    # It left one out that the other one had sent: one dropped less.
    link = _link()
    frame = replace(_frame(16, 16), dropped_frame_count=1)
    assert link.numbered(frame, expected_seq=17) == _frame(17, 16)
    assert link.numbered(replace(frame, seq=17), expected_seq=99).seq == 18


def test_reports_are_in_the_numbers_of_the_server() -> None:
    link = _link()
    link.numbered(_frame(16, 16), expected_seq=17)
    link.report(17, 0)
    assert link.outbox._report is not None
    assert link.outbox._report.last_frame_seq == 16
    # It never hears of more frames than it sent, whatever another one sent.
    link.report(99, 0)
    assert link.outbox._report.last_frame_seq == 16


def test_a_frame_that_is_skipped_gives_its_credit_back() -> None:
    """A server that was behind by all its credits sent nothing any more."""
    link = _link()
    link.skip(14, 13 * FRAME_US)
    assert link.outbox._report is not None
    assert link.outbox._report.last_frame_seq == 14


def test_a_frame_that_came_by_another_link_is_not_new() -> None:
    progress = Progress()
    assert progress.is_new(_frame(1, 0))
    assert progress.is_new(_frame(2, 1))
    assert not progress.is_new(_frame(2, 1))
    assert progress.last_seq == 2


def test_patience_doubles_with_stalls_that_follow_each_other_soon() -> None:
    now_s = 100.0
    watch = StallWatch(lambda: now_s)
    for factor in (1, 2, 4):
        watch.heard()
        now_s += STALL_S * factor * 0.99
        assert not watch.is_too_long
        now_s += STALL_S * factor * 0.02
        assert watch.is_too_long
        watch.stalled()
    now_s += 31.0
    watch.heard()
    now_s += STALL_S * 1.01
    assert watch.is_too_long


async def test_the_next_way_leads_elsewhere_where_there_is_an_elsewhere() -> None:
    async with ParlanteClient("a:1,b:1,c:1") as client:
        open_call = client._calls()
        assert open_call("").target == "a:1"
        ways = [open_call(avoid) for avoid in ("c:1", "c:1", "", "")]
        assert [way.target for way in ways] == ["b:1", "a:1", "b:1", "c:1"]
        for way in ways:
            await way.close()
    async with ParlanteClient("a:1") as client:
        open_call = client._calls()
        open_call("")
        way = open_call("a:1")
        assert way.target == "a:1"
        await way.close()
