"""One live session, as the API document shows it."""

START = {"study_topic_id": 4, "quiz_mode": "random", "target_per_subject": 2}

SUBMISSION = {"pub_id": "q-7f3a", "selected": 2, "unsure": False}

GIVEN = {
    "selected": 2,
    "unsure": False,
    "outcome": "correct",
    "answered_at": "2026-11-22T00:00:41.104417+00:00",
}

RECORDED = {"pub_id": "q-7f3a", "ordinal": 0} | GIVEN

SESSION = {
    "session_id": 813,
    "study_topic_id": 4,
    "status": "in_progress",
    "source": "live",
    "quiz_mode": "random",
    "wrong_only": False,
    "subject_filter": None,
    "target_per_subject": 2,
    "subject_distribution": {"physics": 1, "chemistry": 1},
    "cursor": 1,
    "created_at": "2026-11-22T00:00:12.219203+00:00",
    "finished_at": None,
    "voided_at": None,
    "snapshot": None,
    "questions": [
        {
            "ordinal": 0,
            "pub_id": "q-7f3a",
            "subject": "physics",
            "choices": ["joule", "watt", "newton"],
            "answer": GIVEN,
        },
        {
            "ordinal": 1,
            "pub_id": "q-19c0",
            "subject": "chemistry",
            "choices": ["Ag", "Au"],
            "answer": None,
        },
    ],
}

VOIDED = SESSION | {"status": "abandoned", "voided_at": "2026-11-22T00:20:00.771902+00:00"}

SNAPSHOT = {
    "correct_count": 1,
    "wrong_count": 0,
    "unsure_count": 0,
    "newly_correct_count": 1,
    "recovered_count": 0,
    "relapsed_count": 0,
    "chronic_remaining_count": 0,
}

CLOSED = {
    "session_id": 813,
    "status": "done",
    "finished_at": "2026-11-22T00:12:30.002113+00:00",
    "snapshot": SNAPSHOT,
    "questions": [{"pub_id": "q-7f3a", "due": "2026-11-24"}],
}

PAST = {
    "items": [
        {
            "session_id": 813,
            "study_topic_id": 4,
            "status": "done",
            "source": "live",
            "quiz_mode": "random",
            "created_at": "2026-11-22T00:00:12.219203+00:00",
            "finished_at": "2026-11-22T00:12:30.002113+00:00",
            "voided_at": None,
            "snapshot": SNAPSHOT,
        }
    ],
    "next_cursor": "WzgxM10=",
}

DUE = {
    "items": [
        {
            "pub_id": "q-7f3a",
            "study_topic_id": 4,
            "subject": "physics",
            "due": "2026-11-24",
            "last_reviewed_at": "2026-11-22T00:00:41.104417+00:00",
            "reviews": 3,
            "misses": 1,
        }
    ],
    "next_cursor": None,
}

NOTES = {
    "items": [
        {
            "pub_id": "q-19c0",
            "study_topic_id": 4,
            "subject": "chemistry",
            "retired": False,
            "opened_at": "2026-11-21T23:58:02.661904+00:00",
            "closed_at": None,
            "misses": 3,
            "miss_streak": 3,
            "due": "2026-11-23",
        }
    ],
    "next_cursor": None,
}

WEAK = {
    "items": [
        {
            "subject": "chemistry",
            "questions": 1,
            "reviews": 4,
            "misses": 3,
            "accuracy": 0.25,
            "chronic": ["q-19c0"],
            "mean_retrievability": 0.9,
        }
    ]
}
