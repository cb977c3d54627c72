# Poetry exports a lock file, pip installs it: poetry stays out of the image.
FROM python:3.12 AS lock
RUN pip install poetry poetry-plugin-export
COPY ["pyproject.toml", "poetry.lock", "/lock/"]
RUN cd /lock && poetry export -f requirements.txt --output requirements.txt --without-hashes

FROM python:3.12-alpine
COPY --from=lock /lock/requirements.txt /tmp/
RUN apk add --no-cache --virtual .build gcc musl-dev libffi-dev \
 && pip install --no-cache-dir -r /tmp/requirements.txt \
 && apk del .build
COPY . /app
CMD ["python", "/app/main.py"]
