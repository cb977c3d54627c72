# Names that shadow: an image's, an earlier stage's, in any case.
# larder: target=ALPINE
# larder: target=twice
FROM alpine:3.20 AS alpine
RUN echo the stage alpine
FROM alpine AS Twice
RUN echo on the stage
FROM busybox:1.36 AS twice
COPY --from=ALPINE /etc/os-release /
FROM scratch AS with-dash_and.dot
COPY --from=0 /a /a
COPY --from=2 /b /b
FROM twice
COPY --from=Twice /c /c
COPY --from=with-dash_and.dot / /d
