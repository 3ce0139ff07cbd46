"""The statements of the hand-written replay: as few as its effects allow."""

UPLOAD = (
    "SELECT payload FROM uploads WHERE client_session_uuid = %s AND status = 'received' FOR NO KEY UPDATE"
)
LEARNER = """
    SELECT id, coalesce(time_zone, 'UTC') FROM users WHERE id IN (
        SELECT q.user_id FROM published_items i JOIN study_questions q ON q.id = i.source_id
        WHERE i.pub_id = ANY(%s))
    FOR NO KEY UPDATE"""
QUESTIONS = """
    SELECT i.pub_id, q.id, q.study_topic_id, q.subject, q.correct_choice, p.stability, p.difficulty,
        p.last_reviewed_at, p.reviews, p.misses, p.corrects, p.miss_streak, p.correct_streak, p.wrong_note,
        p.note_opened_at, p.note_closed_at
    FROM published_items i JOIN study_questions q ON q.id = i.source_id
    LEFT JOIN study_question_progress p ON p.user_id = q.user_id AND p.study_question_id = q.id
    WHERE i.pub_id = ANY(%s)"""
LOG = """
    WITH session AS (
        INSERT INTO study_quiz_sessions (user_id, study_topic_id, question_ids, subject_distribution, cursor,
            status, source, client_session_uuid, finished_at, finalized_at, correct_count, wrong_count,
            unsure_count, newly_correct_count, recovered_count, relapsed_count, chronic_remaining_count)
        SELECT %s, t.topic, t.questions::jsonb, t.subjects::jsonb, t.cursor, 'done', 'viewer', %s, t.finished,
            %s, t.correct, t.wrong, t.unsure, t.newly, t.recovered, t.relapsed, t.chronic
        FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::int[], %s::timestamptz[], %s::int[], %s::int[],
            %s::int[], %s::int[], %s::int[], %s::int[], %s::int[]) AS t (topic, questions, subjects, cursor,
            finished, correct, wrong, unsure, newly, recovered, relapsed, chronic)
        RETURNING id, study_topic_id
    ), attempt AS (
        INSERT INTO study_question_attempts (study_quiz_session_id, study_question_id, ordinal, selected,
            unsure, outcome, rating, counted, answered_at, answered_at_raw, clock_adjusted)
        SELECT s.id, a.question, a.ordinal, a.selected, a.unsure, a.outcome, a.rating, TRUE, a.at, a.at, FALSE
        FROM unnest(%s::bigint[], %s::bigint[], %s::int[], %s::smallint[], %s::boolean[], %s::text[],
            %s::smallint[], %s::timestamptz[]) AS a (topic, question, ordinal, selected, unsure, outcome,
            rating, at)
        JOIN session s ON s.study_topic_id = a.topic
    ), followup AS (
        INSERT INTO study_followups (study_quiz_session_id, kind)
        SELECT s.id, kind FROM session s, unnest(ARRAY['explain_misses', 'weak_areas']) AS kind
    )
    SELECT study_topic_id, id FROM session"""
PROGRESS = """
    INSERT INTO study_question_progress (user_id, scheduler, time_zone, study_question_id, stability,
        difficulty, due, last_reviewed_at, reviews, misses, corrects, miss_streak, correct_streak, wrong_note,
        note_opened_at, note_closed_at)
    SELECT %s, %s, %s, p.* FROM unnest(%s::bigint[], %s::float8[], %s::float8[], %s::date[],
        %s::timestamptz[], %s::int[], %s::int[], %s::int[], %s::int[], %s::int[], %s::text[],
        %s::timestamptz[], %s::timestamptz[]) AS p
    ON CONFLICT (user_id, study_question_id) DO UPDATE SET scheduler = excluded.scheduler,
        time_zone = excluded.time_zone, stability = excluded.stability, difficulty = excluded.difficulty,
        due = excluded.due, last_reviewed_at = excluded.last_reviewed_at, reviews = excluded.reviews,
        misses = excluded.misses, corrects = excluded.corrects, miss_streak = excluded.miss_streak,
        correct_streak = excluded.correct_streak, wrong_note = excluded.wrong_note,
        note_opened_at = excluded.note_opened_at, note_closed_at = excluded.note_closed_at"""
CLOSE = """
    UPDATE uploads SET status = 'ingested', result = %s::jsonb, user_id = %s, finalized_at = %s
    WHERE client_session_uuid = %s"""
