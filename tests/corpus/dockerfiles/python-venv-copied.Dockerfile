# A virtual environment is built with compilers and copied without them.
FROM python:3.10-bullseye AS build
RUN python -m venv /opt/venv
ENV PATH="/opt/venv/bin:$PATH"
RUN apt-get update && apt-get install -y --no-install-recommends \
        build-essential \
        # for psycopg2
        libpq-dev \
    && rm -rf /var/lib/apt/lists/*
COPY requirements*.txt ./
RUN pip install -r requirements.txt -r requirements-extra.txt

FROM python:3.10-slim-bullseye
COPY --from=build /opt/venv /opt/venv
ENV PATH="/opt/venv/bin:${PATH}"
COPY --chown=nobody:nogroup . /app
WORKDIR /app
USER nobody
CMD python manage.py runserver 0.0.0.0:8000
