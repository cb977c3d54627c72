# The scopes of arguments: global, declared, shadowed, inherited, predefined.
# larder: arg:G=cli arg:UNDECLARED=x arg:HTTP_PROXY=http://proxy.example target=child
ARG G=global
ARG H=${G}-h
FROM alpine:${G} AS parent
ARG G
ARG H=stage-${G}
ENV FROM_ENV=$G
ARG FROM_ENV=arg
FROM parent AS child
ARG LATE=$G-$H-$FROM_ENV
RUN echo $LATE
ARG http_proxy
ARG BUILDKIT_INLINE_CACHE=1
ARG TARGETPLATFORM
COPY $G $TARGETPLATFORM/
FROM alpine:3.20 AS unrelated
ARG ONLY_HERE
RUN echo ${G:-unset}
