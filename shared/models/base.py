"""What all tables share: types, names of constraints, and `updated_at`."""

from datetime import datetime
from typing import Annotated, Any, ClassVar

from sqlalchemy import (
    DDL,
    BigInteger,
    DateTime,
    Double,
    FetchedValue,
    FromClause,
    Identity,
    MetaData,
    Text,
    event,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, mapped_column

# Every constraint has a name that a migration can drop. That of a foreign key leaves out its target: with it,
# some would pass Postgres' 63 bytes.
NAMES = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
}

# None is SQL's NULL: JSON's `null` would pass an IS NOT NULL check.
JSON = JSONB(none_as_null=True)


class Base(DeclarativeBase):
    """The declarative base; its metadata is compared with the migrations by a test."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map: ClassVar = {
        str: Text,
        float: Double,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSON,
        list[Any]: JSON,
    }


# The ids of the catalog come from outside; without autoincrement=False they would be serial.
CatalogId = Annotated[int, mapped_column(BigInteger, primary_key=True, autoincrement=False)]
RowId = Annotated[int, mapped_column(BigInteger, Identity(), primary_key=True)]
CreatedAt = Annotated[datetime, mapped_column(server_default=func.now())]
UpdatedAt = Annotated[datetime, mapped_column(server_default=func.now(), server_onupdate=FetchedValue())]


def after_create(table: FromClause, sql: str) -> None:
    """Run the statements whenever the table is created."""
    ddl = DDL(sql)  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
    event.listen(table, "after_create", ddl)


def keep_updated_at(model: type[Base]) -> None:
    """Set `updated_at` by trigger: an ORM's `onupdate` misses hand-written and bulk statements."""
    after_create(
        model.__table__,
        """
        CREATE OR REPLACE FUNCTION keep_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.updated_at := now();
            RETURN NEW;
        END $$;
        CREATE TRIGGER keep_updated_at BEFORE UPDATE ON %(fullname)s
        FOR EACH ROW EXECUTE FUNCTION keep_updated_at()
        """,
    )
