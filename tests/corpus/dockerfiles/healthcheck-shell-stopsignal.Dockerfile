# What shapes the running container: all forms.
FROM alpine:3.20
HEALTHCHECK --interval=1m30s --timeout=10s --start-period=0s --start-interval=500ms --retries=5 CMD curl -f http://localhost/ || exit 1
HEALTHCHECK CMD ["true"]
HEALTHCHECK NONE
SHELL ["/bin/sh", "-c"]
STOPSIGNAL 9
STOPSIGNAL ${SIG:-SIGTERM}
MAINTAINER Somebody <somebody@example.org>
EXPOSE $PORT
USER app
ONBUILD HEALTHCHECK NONE
