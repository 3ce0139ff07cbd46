-- The role of web, worker, sweeper and commands: rows only. `migrate` runs as the owner of the database, who runs this
-- file before the first migration. The password is in STUDY_INGEST_PASSWORD.
\getenv password STUDY_INGEST_PASSWORD
CREATE ROLE study_ingest LOGIN PASSWORD :'password';
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO study_ingest;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO study_ingest;
