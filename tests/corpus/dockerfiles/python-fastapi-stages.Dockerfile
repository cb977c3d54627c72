# FastAPI with stages for development, tests and production.
# larder: target=test
# larder: target=Dev arg:REQS=dev
FROM python:3.12-slim AS base
WORKDIR /code
ARG REQS=prod
COPY requirements/${REQS}.txt requirements.txt
RUN pip install --no-cache-dir --upgrade -r requirements.txt

FROM base AS dev
VOLUME /code/app
CMD ["uvicorn", "app.main:app", "--reload"]

FROM base AS test
COPY tests ./tests
COPY app ./app
COPY pytest.ini .
RUN pytest -q

FROM base AS prod
COPY ./app /code/app
CMD ["uvicorn", "app.main:app", "--host", "0.0.0.0", "--port", "80"]
