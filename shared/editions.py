"""The SQL that says which editions of questions can be used, and which edition of a question is current."""

CHOICE_COUNT = "jsonb_array_length(CASE jsonb_typeof(i.choices) WHEN 'array' THEN i.choices END)"

# Whether attempts can be graded by edition i: a document server's view may show drafts, which have no key.
CAN_GRADE = f"i.correct_choice BETWEEN 0 AND {CHOICE_COUNT} - 1"

# Whether exactly one edition has the pub_id of a row; in `NAMES_ONE.format("a")`, the row is `a`. In a
# document server's views, several editions may have the same pub_id: then none of these editions is asked,
# and no attempt is graded again by them.
NAMES_ONE = f"""(SELECT count(*) FROM published_items AS i JOIN study_questions AS q ON q.id = i.source_id
    WHERE i.pub_id = {{}}.pub_id AND {CAN_GRADE}) = 1"""  # noqa: S608  # made of a constant

# The edition that is asked now: the newest published edition of each question by which answers can be graded.
# An edition without a date counts as the oldest; of equal dates, the first pub_id wins. LATERAL makes
# Postgres look editions up by index, whatever query joins the view.
CURRENT_EDITIONS = f"""
    CREATE VIEW current_editions AS
    SELECT question.id AS source_id, newest.pub_id, newest.choices, newest.correct_choice, newest.published_at
    FROM study_questions AS question CROSS JOIN LATERAL (
        SELECT i.pub_id, i.choices, i.correct_choice, i.published_at
        FROM published_items AS i
        WHERE i.source_id = question.id AND (i.published_at IS NULL OR i.published_at <= now())
            AND {CAN_GRADE}
        ORDER BY i.published_at DESC NULLS LAST, i.pub_id COLLATE "C" LIMIT 1) AS newest
"""  # noqa: S608  # made of the constants above
