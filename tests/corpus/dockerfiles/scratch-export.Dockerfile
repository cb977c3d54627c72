# Only files come out: a target for --output.
# larder: target=reports
FROM python:3.12 AS test
COPY . /src
WORKDIR /src
RUN --mount=type=cache,target=/root/.cache pip install tox && tox; echo $? > /status
FROM scratch AS reports
COPY --from=test /src/report.xml /status /
