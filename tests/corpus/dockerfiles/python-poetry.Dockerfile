# Poetry without a virtual environment of its own, and two groups by argument.
FROM python:3.11-slim AS base
ARG POETRY_VERSION=1.8.3
ARG GROUPS="main,prod"
ENV POETRY_VIRTUALENVS_CREATE=false \
    POETRY_NO_INTERACTION=1 \
    POETRY_CACHE_DIR='/var/cache/pypoetry'
RUN pip install "poetry==$POETRY_VERSION"
WORKDIR /code
COPY poetry.lock pyproject.toml /code/
RUN --mount=type=cache,target=$POETRY_CACHE_DIR,sharing=locked \
    poetry install --only="${GROUPS}" --no-root --no-ansi
COPY . /code
RUN poetry install --only-root
