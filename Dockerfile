# One image for every process: the command says which, as in the Procfile. Tokens come by the environment only.
FROM python:3.13.9-slim-trixie AS build

RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /opt/study-ingest
ENV UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never

COPY pyproject.toml uv.lock README.md ./
COPY client client
RUN uv sync --locked --no-dev --no-install-project --compile-bytecode
COPY api api
COPY cli cli
COPY migrations migrations
COPY shared shared
COPY worker worker
COPY Procfile ./
RUN uv sync --locked --no-dev --compile-bytecode

FROM python:3.13.9-slim-trixie

RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/study-ingest study-ingest
COPY --from=build /opt/study-ingest /opt/study-ingest
ENV PATH=/opt/study-ingest/.venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

USER study-ingest
VOLUME /var/lib/study-ingest
WORKDIR /var/lib/study-ingest
CMD ["python", "-m", "api"]
