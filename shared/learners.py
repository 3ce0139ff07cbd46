"""Delete a learner, and the answers that uploads hold of them."""

from sqlalchemy import Connection, text

from shared.db import execute, scalars
from shared.payload import SPACES
from shared.study.store import mark_whole

# Ingested uploads have their `user_id`. The others belong to the learner whom their sender's token names, or
# to the learners whose questions they name, as long as the catalog has these.
_THEIRS = """
    SELECT client_session_uuid FROM uploads WHERE user_id = :user_id
    UNION ALL
    SELECT client_session_uuid FROM uploads
    WHERE (status = 'received' OR status IN ('rejected', 'dead')) AND (learner_id = :user_id
            OR user_id IS NULL AND EXISTS (
                SELECT FROM jsonb_path_query(payload, '$.attempts[*].pub_id') AS named
                WHERE normalize(btrim(named #>> '{}', :spaces)) = ANY(CAST(:pub_ids AS text[]))))
"""

# In the order of their ids, and before the learner, as a replay locks them.
_LOCK_UPLOADS = text(f"""
    SELECT client_session_uuid FROM uploads WHERE client_session_uuid IN ({_THEIRS})
    ORDER BY client_session_uuid FOR NO KEY UPDATE
""")  # noqa: S608  # made of the constant above

# Other content may have taken the place of a rejected one while this waited for its row.
_STILL_THEIRS = text(f"""
    SELECT client_session_uuid FROM ({_THEIRS}) AS theirs
    WHERE client_session_uuid = ANY(CAST(:locked AS uuid[]))
""")  # noqa: S608  # as above

_PUB_IDS = text("""
    SELECT i.pub_id FROM study_questions q JOIN published_items i ON i.source_id = q.id
    WHERE q.study_topic_id IN (SELECT id FROM study_topics WHERE user_id = :user_id)
""")

# A conflict that was never ingested is blanked with its upload, too.
_BLANK_CONFLICTS = text("""
    UPDATE upload_conflicts SET payload = NULL
    WHERE :user_id IN (user_id, learner_id) OR user_id IS NULL AND (
        client_session_uuid = ANY(CAST(:uploads AS uuid[]))
        OR EXISTS (SELECT FROM jsonb_path_query(payload, '$.attempts[*].pub_id') AS named
            WHERE normalize(btrim(named #>> '{}', :spaces)) = ANY(CAST(:pub_ids AS text[]))))
""")

# A waiting upload is rejected: its questions are deleted.
_BLANK_UPLOADS = text("""
    WITH blanked AS (
        UPDATE uploads SET payload = NULL, result = NULL, user_id = :user_id,
            status = CASE WHEN status = 'received' THEN 'rejected' ELSE status END,
            reason = CASE WHEN status = 'received' THEN 'learner_deleted' ELSE reason END,
            finalized_at = coalesce(finalized_at, now())
        WHERE client_session_uuid = ANY(CAST(:uploads AS uuid[])) RETURNING client_session_uuid)
    INSERT INTO upload_events (client_session_uuid, kind, detail)
    SELECT client_session_uuid, 'purged', 'the learner was deleted' FROM blanked
""")

_DELETE = text("DELETE FROM users WHERE id = :user_id RETURNING id")


def delete_learner(connection: Connection, user_id: int) -> int:
    """Delete a learner with all that is known of them; return how many uploads are blanked.

    The rows of their uploads stay, so that a repeated delivery is recognised; payloads and results are
    deleted, and not stored again. Where the learner's own row was deleted before, ingested uploads are
    blanked, too; of the others, the owner can no longer be found in the catalog.
    """
    pub_ids = scalars(connection, _PUB_IDS, {"user_id": user_id})
    bound = {"user_id": user_id, "pub_ids": pub_ids, "spaces": SPACES}
    locked = scalars(connection, _LOCK_UPLOADS, bound)
    uploads = scalars(connection, _STILL_THEIRS, bound | {"locked": locked})
    execute(connection, _BLANK_CONFLICTS, bound | {"uploads": uploads})
    execute(connection, _BLANK_UPLOADS, bound | {"uploads": uploads})
    execute(connection, _DELETE, {"user_id": user_id})
    mark_whole(connection, user_id)
    return len(uploads)
