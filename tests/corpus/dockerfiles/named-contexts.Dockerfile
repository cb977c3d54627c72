# Contexts by name: for a stage, an image, a plain name, and a platform.
# larder: context:base context:registry.example/lib:2 context:assets context:docker.io/library/alpine::linux/amd64
FROM python:3.12 AS base
RUN pip install everything
FROM base AS app
COPY --from=assets css /css
COPY --from=registry.example/lib:2 /lib /lib
COPY --from=alpine /etc /etc2
RUN --mount=from=assets,target=/m ls /m
