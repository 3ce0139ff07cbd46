"""A tiny document server: users, topics and questions in its own tables, and what it does by our API.

`create_app` is what it was before it adopted us; `with_ingest` adds that it forwards the sessions of its
viewers, and shows what is due; `with_ingest_apart` that it keeps our catalog equal to its own, and copies
progress.
"""

import json
import subprocess
import sys
from typing import Any

import httpx
import psycopg
from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tests.reader import Reader

SCHEMA = "learning"  # where our tables are


def run(database_url: str, statement: str, *values: Any) -> list[dict[str, Any]]:
    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        cursor = connection.execute(statement.encode(), values)
        return cursor.fetchall() if cursor.description else []


def create_app(url: str) -> Flask:
    app = Flask(__name__)

    def add(table: str) -> ResponseReturnValue:
        row = {
            name: Jsonb(value) if isinstance(value, list) else value for name, value in request.json.items()
        }
        columns, places = ", ".join(row), ", ".join(["%s"] * len(row))
        statement = f"INSERT INTO {table} ({columns}) VALUES ({places}) RETURNING *"  # noqa: S608  # of tests
        return jsonify(run(url, statement, *row.values())[0]), 201

    for name in ("users", "study_topics", "study_questions", "published_items", "study_quiz_sessions"):
        app.add_url_rule(f"/{name}", name, lambda name=name: add(name), methods=["POST"])

    @app.delete("/users/<user>")
    def delete_user(user: str) -> ResponseReturnValue:
        run(url, "DELETE FROM users WHERE CAST(id AS text) = %s", user)
        return "", 204

    @app.put("/published_items/<pub_id>/correct_choice")
    def correct(pub_id: str) -> ResponseReturnValue:
        run(url, "UPDATE published_items SET correct_choice = %s WHERE pub_id = %s", request.json, pub_id)
        return "", 204

    @app.post("/sessions/<int:session>/finish")
    def finish(session: int) -> ResponseReturnValue:
        done = "UPDATE study_quiz_sessions SET status = 'done', finished_at = now() WHERE id = %s RETURNING *"
        return jsonify(run(url, done, session))

    return app


def with_ingest(url: str, ingest: httpx.Client, viewer_token: str, study_token: str) -> Flask:
    """Make the server as it is once it has adopted us; `ingest` sends to study-ingest."""
    app = create_app(url)

    def number(user: str) -> int:
        """Return the learner's number: the user's id, or where that is a uuid, that of the mapping table."""
        if user.isdecimal():
            return int(user)
        statement = f"SELECT id FROM {SCHEMA}.learner_ids WHERE host_id = CAST(%s AS uuid)"  # noqa: S608
        return int(run(url, statement, user)[0]["id"])

    @app.post("/uploads")
    def upload() -> ResponseReturnValue:
        headers = {"Authorization": f"Bearer {viewer_token}"}
        answer = ingest.post("/ingest/study/attempts", json=request.json, headers=headers)
        return jsonify(answer.json()), answer.status_code

    @app.get("/users/<user>/due")
    def due(user: str) -> ResponseReturnValue:
        headers = {"Authorization": f"Bearer {study_token}"}
        before = {"due_before": request.args["before"]}
        answer = ingest.get(f"/study/users/{number(user)}/reviews", params=before, headers=headers)
        return jsonify([each["pub_id"] for each in answer.raise_for_status().json()["items"]])

    return app


# In the form of a catalog's file; users whose ids are numbers.
CATALOG = {
    "users": "SELECT id, timezone AS time_zone FROM users",
    "topics": "SELECT id, user_id, title AS name, CAST(exam_date AS text) AS exam_on FROM study_topics",
    "questions": """
        SELECT q.id, t.user_id, q.study_topic_id, q.subject, q.exam_frequency, i.pub_id, i.choices,
            i.correct_choice
        FROM study_questions q JOIN study_topics t ON t.id = q.study_topic_id
        JOIN published_items i ON i.source_id = q.id
    """,
}
COPY = """
    INSERT INTO study_question_progress (user_id, study_question_id, reviews) VALUES (%s, %s, %s)
    ON CONFLICT (user_id, study_question_id) DO UPDATE SET reviews = excluded.reviews
"""


def with_ingest_apart(
    url: str, ingest: httpx.Client, viewer_token: str, study_token: str, catalog_token: str
) -> Flask:
    """Make the server as it is with us in a database apart; `copy` among its extensions is its copy."""
    app = with_ingest(url, ingest, viewer_token, study_token)

    def changes(after: str) -> Any:
        headers = {"Authorization": f"Bearer {study_token}"}
        answer = ingest.get("/study/changes", params={"after": after}, headers=headers)
        return answer.raise_for_status().json()

    app.extensions["copy"] = copy = Reader(changes)

    @app.post("/sync")
    def sync() -> ResponseReturnValue:
        """Do what a job does after each change; `?force` where a right choice was corrected."""
        catalog = {kind: run(url, statement) for kind, statement in CATALOG.items()}
        command = [sys.executable, "-m", "cli", "catalog", "sync", "-", "--url", str(ingest.base_url)]
        ran = subprocess.run(
            command + ["--force"] * ("force" in request.args),
            input=json.dumps(catalog),
            env={"CATALOG_TOKEN": catalog_token},
            capture_output=True,
            text=True,
            check=False,
        )
        return ran.stdout + ran.stderr, 502 if ran.returncode else 200

    @app.post("/progress")
    def copy_progress() -> ResponseReturnValue:
        copy.catch_up()
        for user, questions in copy.copy.items():
            for question, progress in questions.items():
                run(url, COPY, user, question, progress["reviews"])
        return "", 204

    return app
