# A cross build: the compiler runs on the builder's platform.
# larder: platform=linux/arm/v7
# larder: platform=linux/amd64 arg:VERSION=9.9
FROM --platform=$BUILDPLATFORM golang:1.23-alpine AS build
ARG TARGETOS TARGETARCH TARGETVARIANT
ARG VERSION=dev
WORKDIR /src
RUN --mount=type=bind,source=go.mod,target=go.mod --mount=type=bind,source=go.sum,target=go.sum \
    --mount=type=cache,target=/go/pkg/mod go mod download -x
RUN --mount=target=. \
    --mount=type=cache,target=/go/pkg/mod \
    --mount=type=cache,id=go-build-$TARGETOS-$TARGETARCH${TARGETVARIANT:+-$TARGETVARIANT},target=/root/.cache/go-build \
    GOOS=$TARGETOS GOARCH=$TARGETARCH GOARM=${TARGETVARIANT#v} go build -ldflags "-X main.version=$VERSION" -o /out/app .
FROM scratch
COPY --link --from=build /out/app /app
ENTRYPOINT ["/app"]
