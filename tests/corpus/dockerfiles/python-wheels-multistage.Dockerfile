# Wheels are built in one stage, mounted into the next, and installed offline.
ARG PYTHON_VERSION=3.11
FROM python:${PYTHON_VERSION} AS wheels
WORKDIR /wheels
COPY requirements/base.txt requirements/prod.txt requirements/
RUN pip wheel --wheel-dir /wheels -r requirements/prod.txt

FROM python:${PYTHON_VERSION}-slim AS runtime
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    pip install --no-index --find-links=/wheels /wheels/*.whl
COPY app /opt/app
CMD ["gunicorn", "--chdir", "/opt/app", "wsgi:application"]
