# Cross builds with a helper stage that is copied into the build's stage.
FROM --platform=$BUILDPLATFORM registry.example/tools/xx:1.4.0 AS xx
FROM --platform=$BUILDPLATFORM golang:1.22-alpine AS base
COPY --from=xx / /
ARG TARGETPLATFORM
RUN xx-info env && xx-apk add --no-cache musl-dev gcc
FROM base AS vet
RUN --mount=type=bind go vet ./...
FROM base AS build
RUN --mount=type=bind,rw --mount=type=cache,target=/root/.cache xx-go build -o /bin/tool && xx-verify /bin/tool
FROM scratch AS binary
COPY --from=build /bin/tool /
