# A base for a team's applications: everything is held back.
FROM python:3.11-slim
ONBUILD ARG REQUIREMENTS=requirements.txt
ONBUILD COPY ${REQUIREMENTS} /app/
ONBUILD RUN --mount=type=cache,target=/root/.cache/pip pip install -r /app/${REQUIREMENTS}
ONBUILD COPY . /app
WORKDIR /app
CMD ["python", "-m", "app"]
