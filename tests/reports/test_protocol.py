"""The report's section on the protocol."""

from __future__ import annotations

from dataclasses import replace

import jinja2

from vdna_metrics.leaderboard import Leaderboard
from vdna_metrics.leaderboard.record import ImageSetRecord, ProtocolRecord
from vdna_metrics.reports.protocol import protocol_context

PLAIN = Leaderboard("t", ImageSetRecord("r", "r", 1, 1), (), (), (), (), {}, "", {}, "")


def test_a_report_tells_of_the_protocol_that_there_is() -> None:
    """Departures and facts of a known protocol; of one of another version its name and departures; of none nothing."""
    assert protocol_context(PLAIN) is None
    record = ProtocolRecord("adm-gfid-256", ("a: expected 50 000 images, got 8",))
    shown = protocol_context(replace(PLAIN, protocol=record))
    assert shown is not None
    assert shown["record"] is record
    assert "training set" in shown["lines"]["reference"].text
    newer = protocol_context(replace(PLAIN, protocol=ProtocolRecord("of-tomorrow")))
    assert newer == {"record": ProtocolRecord("of-tomorrow"), "measures": "", "lines": {}}


def test_the_section_has_the_sentences_as_text() -> None:
    """Each sentence is on the page, as text whatever a set is called; without a protocol there is nothing."""
    environment = jinja2.Environment(loader=jinja2.PackageLoader("vdna_metrics.reports"), autoescape=True)
    section = environment.get_template("_protocol.html.j2")
    record = ProtocolRecord("adm-gfid-256", ("<b>: expected 50 000 images, got 8",), ("sizes are not known",))
    drawn = section.render(protocol=protocol_context(replace(PLAIN, protocol=record)))
    for text in ("&lt;b&gt;: expected 50 000 images, got 8", "sizes are not known", "mu and sigma of VIRTUAL"):
        assert text in drawn
    assert "departs from it" not in section.render(protocol=protocol_context(PLAIN))
