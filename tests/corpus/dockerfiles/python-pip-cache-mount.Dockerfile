# syntax=docker/dockerfile:1
# pip with a cache mount, and requirements by bind mount instead of COPY.
FROM python:3.11-slim-bookworm
WORKDIR /srv
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=bind,source=requirements.txt,target=requirements.txt \
    --mount=type=bind,source=constraints.txt,target=/tmp/constraints.txt \
    pip install -r requirements.txt -c /tmp/constraints.txt
COPY src/ src/
USER 1000:1000
ENTRYPOINT ["python", "src/main.py"]
