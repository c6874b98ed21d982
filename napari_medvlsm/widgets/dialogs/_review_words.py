"""The review in words: versions, events, states, and how two outlines differ."""

from __future__ import annotations

import math
from datetime import datetime
from html import escape

from napari_medvlsm.controllers.review import Look, Side
from napari_medvlsm.core.contrast import OUTLINE_COLORS
from napari_medvlsm.core.differences import Differences
from napari_medvlsm.core.projects.outlines import PREDICTION
from napari_medvlsm.core.projects.states import State
from napari_medvlsm.core.projects.values import Event, Version

#: Of the outline that is judged, and of what it is compared with.
FIRST_COLOR, SECOND_COLOR = OUTLINE_COLORS[:2]
_WORDS = {
    State.UNSEEN: "Not outlined",
    State.DRAFT: "Being outlined",
    State.SUBMITTED: "Waits for your answer",
    State.APPROVED: "Approved",
    State.ABSENT: "Nothing here, says the answer",
}


def _time_words(at: datetime) -> str:
    return f"{at.astimezone():%d %b %Y %H:%M}"


def origin_words(version: Version) -> str:
    """How a version came."""
    if version.absent:
        return "nothing here"
    return version.origin


def side_words(side: Side) -> str:
    """What a picture shows, in a list of what it could."""
    version = side.version
    if side.began_from:
        return f"the prediction that version {version.number} began from"
    who = version.model if version.origin == PREDICTION else version.author
    now = " (now)" if version.current else ""
    return f"{version.number}{now}: {origin_words(version)}{f', {who}' if who else ''}"


def version_words(version: Version) -> str:
    """The work on a version, its words and its model."""
    work = f"{version.seconds:.0f} s, {version.strokes} strokes, {version.clicks} clicks"
    lines = [f"Version {version.number}: {origin_words(version)}, {_time_words(version.created)}", work]
    lines += [f"Words: {version.prompt}"] if version.prompt else []
    lines += [f"Model: {version.model} {version.weights_hash[:8]}"] if version.model else []
    return "\n".join(lines)


def state_words(look: Look) -> str:
    """Where an outline stands, and what it cost, as rich text."""
    now, handed = look.current, look.submitted
    who = f", handed over by {escape(handed.person)}" if handed and handed.person else ""
    text = f"<b>{_WORDS[look.state]}</b>{who}"
    if now is not None:
        model = f"from {escape(now.model or 'a prediction')}" if now.predicted else "without a prediction"
        changed = "" if now.pixels_changed is None or not now.predicted else f", {now.pixels_changed:,} pixels changed"
        strokes = f"{now.strokes} stroke{'' if now.strokes == 1 else 's'}"
        clicks = f"{now.clicks} click{'' if now.clicks == 1 else 's'}"
        text += f"<br>{now.seconds:.0f} s of work, {strokes} and {clicks}, {model}{changed}."
    return text


def event_words(event: Event, look: Look) -> str:
    """What was done, as a paragraph of rich text."""
    number = next((v.number for v in look.versions if v.id == event.version), None)
    version = "" if number is None else f" (version {number})"
    who = f" by {escape(event.person)}" if event.person else ""
    remark = f"<br>“{escape(event.remark)}”" if event.remark else ""
    return (
        f"<p style='margin: 0 0 6px 0'><b>{escape(event.what)}</b>{version}{who}, {_time_words(event.at)}{remark}</p>"
    )


def legend_words(first: Side | None, second: Side | None, found: Differences | None) -> str:
    """What the coloured pixels are, as rich text."""
    if first is None or second is None or found is None:
        return ""
    names = [("prediction" if side.began_from else f"version {side.version.number}") for side in (first, second)]
    parts = [
        f"<span style='background-color: {color}'>&nbsp;&nbsp;&nbsp;&nbsp;</span> only in the {name} ({count:,})"
        if name == "prediction"
        else f"<span style='background-color: {color}'>&nbsp;&nbsp;&nbsp;&nbsp;</span> only in {name} ({count:,})"
        for color, name, count in zip(
            (FIRST_COLOR, SECOND_COLOR), names, (found.only_first, found.only_second), strict=True
        )
    ]
    return "&nbsp;&nbsp; ".join(parts)


def difference_words(found: Differences) -> str:
    """How far two outlines differ."""
    if found.same:
        return "Not one pixel differs (Dice 1)."
    unit, digits = ("mm", 2) if found.in_mm else ("pixels", 1)
    text = f"Dice {found.dice:.3f} (1 is the same). {found.first:,} and {found.second:,} pixels."
    if not math.isnan(found.mean_distance):
        text += (
            f" The edges are {found.mean_distance:.{digits}f} {unit} apart on average, "
            f"{found.largest_distance:.{digits}f} at most."
        )
    return text
