# A version from git: the history is mounted, not copied.
FROM python:3.12-slim AS build
RUN pip install hatch
WORKDIR /src
RUN --mount=source=.,target=/src,rw \
    --mount=source=.git,target=/src/.git,type=bind \
    hatch build -t wheel /dist
FROM python:3.12-slim
RUN --mount=from=build,src=/dist,dst=/dist pip install /dist/*.whl
