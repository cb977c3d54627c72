# Triggers of a stage run in the stage on top of it, and no further.
FROM alpine:3.20 AS tools
FROM alpine:3.20 AS parent
ONBUILD COPY --from=tools /bin/tool /bin/
ONBUILD RUN --mount=type=cache,target=/c tool
ONBUILD NOT an instruction, and nobody minds
ONBUILD ENV A=b
FROM alpine:3.20 AS other
ONBUILD ADD trigger.txt /
FROM other AS child
RUN echo after the trigger
FROM child
RUN echo no trigger here
