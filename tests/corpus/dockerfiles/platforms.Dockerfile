# All platform arguments, and stages for named platforms.
# larder: platform=linux/arm64/v8
# larder: platform=linux/386
FROM --platform=linux/amd64 debian:12 AS amd
FROM --platform=${TARGETPLATFORM:-linux/arm64} debian:12 AS own
ARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT BUILDPLATFORM BUILDOS BUILDARCH BUILDVARIANT
ENV T=$TARGETPLATFORM/$TARGETOS/$TARGETARCH/$TARGETVARIANT B=$BUILDPLATFORM/$BUILDOS/$BUILDARCH/$BUILDVARIANT
COPY bin-${TARGETARCH}${TARGETVARIANT} /usr/local/bin/
FROM own-${TARGETARCH}:1 AS by-name
FROM own AS stage-for-386
FROM own AS stage-for-arm64
FROM stage-for-${TARGETARCH}
COPY --from=amd /etc/debian_version /amd
COPY --from=by-name / /x
