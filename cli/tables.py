"""Tables of what was learned, for a terminal."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from cli.lesson import Lesson

STABILITY = "stability: days after which nine of ten such questions are still known"
COLOURS = {"correct": "green", "wrong": "red", "unsure": "yellow", "unsure, but right": "yellow"}
COUNTS = {
    "correct_count": "correct",
    "wrong_count": "wrong",
    "unsure_count": "unsure",
    "newly_correct_count": "newly\ncorrect",
    "recovered_count": "recovered",
    "relapsed_count": "relapsed",
    "chronic_remaining_count": "chronic",
}


def attempts_table(lesson: Lesson) -> Table:
    """Show what became of each attempt, and how its question's progress moved."""
    table = _table("question", "outcome", caption=STABILITY, caption_justify="left")
    table.add_column("stability (d)", justify="right")
    table.add_column("next due")
    for ordinal, attempt in enumerate(lesson.result["attempts"]):
        pub_id, status = attempt["pub_id"], attempt["status"]
        grade = lesson.grades.get(ordinal)
        if grade and status == "counted":
            table.add_row(pub_id, f"[{COLOURS[grade]}]{grade}[/]", *_moved(lesson, pub_id))
        else:
            table.add_row(pub_id, f"{status}: {grade or 'unknown'}", style="dim")
    return table


def topics_table(lesson: Lesson, names: Mapping[int, str]) -> Table:
    """Show the counts of each session that the upload left."""
    table = _table("topic")
    for heading in COUNTS.values():
        table.add_column(heading, justify="right")
    for topic in lesson.result["topics"]:
        table.add_row(names[topic["study_topic_id"]], *(_count(topic, count) for count in COUNTS))
    return table


def _table(*columns: str, **look: Any) -> Table:
    table = Table(*columns, box=box.SIMPLE_HEAD, header_style="bold", **look)
    table.show_edge = table.pad_edge = False
    table.padding = (0, 1, 0, 0)
    return table


def _moved(lesson: Lesson, pub_id: str) -> tuple[str, str]:
    before, after = lesson.before.get(pub_id), lesson.after.get(pub_id)
    if after is None:  # its sessions were voided since
        return "", ""
    now, due = f"{after['stability']:>5.2f}", after["due"]
    if before == after:
        return now, due
    return f"{before['stability']:.2f} → {now}" if before else f"new → {now}", due


def _count(topic: Mapping[str, Any], count: str) -> str:
    return str(topic[count]) if topic[count] else "[dim]·[/]"
