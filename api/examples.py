"""One upload and its answers, as the API document shows them."""

UUID = "6f1c1f0e-6d3a-4d58-9a53-0f2f3b1f6e11"

UPLOAD = {
    "client_session_uuid": UUID,
    "started_at": "2026-11-22T09:00:00+09:00",
    "finished_at": "2026-11-22T09:12:30+09:00",
    "sent_at": "2026-11-22T09:12:31+09:00",
    "attempts": [
        {"pub_id": "q-7f3a", "selected": 2, "unsure": False, "answered_at": "2026-11-22T09:00:41+09:00"},
        {"pub_id": "q-19c0", "selected": None, "unsure": True, "answered_at": "2026-11-22T09:01:55+09:00"},
        {"pub_id": "q-gone", "selected": 0, "unsure": False, "answered_at": "2026-11-22T09:02:20+09:00"},
    ],
}

RESULT = {
    "topics": [
        {
            "session_id": 812,
            "study_topic_id": 4,
            "correct_count": 1,
            "wrong_count": 0,
            "unsure_count": 1,
            "newly_correct_count": 1,
            "recovered_count": 0,
            "relapsed_count": 0,
            "chronic_remaining_count": 0,
        }
    ],
    "attempts": [
        {"pub_id": "q-7f3a", "status": "counted"},
        {"pub_id": "q-19c0", "status": "counted"},
        {"pub_id": "q-gone", "status": "skipped", "reason": "unknown_question"},
    ],
    "questions": [{"pub_id": "q-19c0", "due": "2026-11-23"}, {"pub_id": "q-7f3a", "due": "2026-11-24"}],
}

RECEIVED = {"status": "received", "client_session_uuid": UUID}

ALREADY_INGESTED = {"status": "already_ingested", "client_session_uuid": UUID, "result": RESULT}

STANDING = {
    "client_session_uuid": UUID,
    "status": "ingested",
    "received_at": "2026-11-22T00:12:32.104417+00:00",
    "finalized_at": "2026-11-22T00:12:32.219203+00:00",
    "tries": 1,
    "voided_at": None,
    "reason": None,
    "result": RESULT,
}
