"""Files as Anki exports them: in its schema 11, and in its schema 18, which is packed by zstandard."""

import json
import sqlite3
import zipfile
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import zstandard

CREATED = 1_600_000_000
BASIC, CLOZE = 11, 12
# Field names of the note types, in their order.
FIELDS = {BASIC: ["Front", "Code"], CLOZE: ["Text", "Extra", "Code"]}
TABLES = """
    CREATE TABLE col (id integer primary key, crt integer, mod integer, ver integer, models text);
    CREATE TABLE notes (id integer primary key, guid text, mid integer, tags text, flds text);
    CREATE TABLE cards (id integer primary key, nid integer, did integer, ord integer);
    CREATE TABLE revlog (id integer primary key, cid integer, usn integer, ease integer, ivl integer,
        lastIvl integer, factor integer, time integer, type integer);
"""
NEW_TABLES = """
    CREATE TABLE fields (ntid integer, ord integer, name text COLLATE unicase, config blob,
        PRIMARY KEY (ntid, ord)) WITHOUT ROWID;
    CREATE UNIQUE INDEX idx_fields_name_ntid ON fields (name, ntid);
"""
# Card and note have the same id. The code may have markup, as from Anki's editor.
Note = tuple[int, int, str]  # id, note type, code
Review = tuple[int, int, int]  # milliseconds, card, ease


def write(file: Path, notes: Iterable[Note], reviews: Iterable[Review], form: str = "anki21b") -> Path:
    """Write a package in a form: `anki2`, `anki21` or `anki21b`."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "collection"
        with closing(sqlite3.connect(path)) as db:
            db.create_collation("unicase", lambda one, other: (one > other) - (one < other))
            db.executescript(TABLES)
            fields = [(kind, *each) for kind, names in FIELDS.items() for each in enumerate(names)]
            models: dict[int, Any] = {kind: {"flds": []} for kind in FIELDS}
            for kind, place, name in fields:
                models[kind]["flds"].append({"name": name, "ord": place})
            if form == "anki21b":
                db.executescript(NEW_TABLES)
                db.executemany("INSERT INTO fields VALUES (?, ?, ?, x'')", fields)
            written = "" if form == "anki21b" else json.dumps(models)
            db.execute("INSERT INTO col VALUES (1, ?, 0, 11, ?)", [CREATED, written])
            for note, kind, code in notes:
                texts = [*("text" for _ in FIELDS[kind][1:]), code]
                db.execute(
                    "INSERT INTO notes VALUES (?, ?, ?, '', ?)", [note, f"g{note}", kind, "\x1f".join(texts)]
                )
                db.execute("INSERT INTO cards VALUES (?, ?, 1, 0)", [note, note])
            db.executemany("INSERT INTO revlog VALUES (?, ?, 0, ?, 1, 1, 2500, 900, 1)", reviews)
            db.commit()
        content = path.read_bytes()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as package:
        if form != "anki2":
            package.writestr("collection.anki2", b"a note to older versions")
        packed = zstandard.compress(content) if form == "anki21b" else content
        package.writestr(f"collection.{form}", packed)
        package.writestr("media", "{}")
    return file
