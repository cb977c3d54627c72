# A uv workspace: members by pattern, one cache for every architecture.
# larder: platform=linux/arm64 target=worker
ARG UV=0.5
FROM registry.example/mirror/uv:${UV} AS uv
FROM python:3.13-slim AS base
ARG TARGETARCH
COPY --link --from=uv /uv /usr/local/bin/uv
WORKDIR /work
COPY pyproject.toml uv.lock ./
COPY packages/*/pyproject.toml packages/
RUN --mount=type=cache,id=uv-${TARGETARCH},target=/root/.cache/uv,sharing=shared uv sync --frozen --no-install-workspace
FROM base AS worker
COPY packages packages
RUN --mount=type=cache,id=uv-${TARGETARCH},target=/root/.cache/uv uv sync --frozen --package worker
CMD ["uv", "run", "worker"]
FROM base AS api
COPY packages packages
RUN uv sync --frozen --package api
