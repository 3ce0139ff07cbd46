# One image for every process: the command says which, as in the Procfile. Tokens come by the environment only.
FROM python:3.13-slim

RUN pip install --no-cache-dir uv
WORKDIR /opt/study-ingest
ENV UV_LINK_MODE=copy PATH=/opt/study-ingest/.venv/bin:$PATH PYTHONUNBUFFERED=1

COPY pyproject.toml uv.lock ./
COPY client/python/pyproject.toml client/python/
RUN uv sync --locked --no-dev --no-install-workspace --compile-bytecode
COPY . .
RUN uv sync --locked --no-dev --compile-bytecode \
    && useradd --system --create-home --home-dir /var/lib/study-ingest study-ingest

USER study-ingest
VOLUME /var/lib/study-ingest
WORKDIR /var/lib/study-ingest
CMD ["python", "-m", "api"]
