# Letters beyond ASCII: in comments, words, here-documents, and flags.
FROM alpine:3.20
LABEL città="Zürich" 名前='東京'
ENV GRÜSSE=hallo
COPY données/été.txt /données/
RUN --mount=type=cache,id=büro,target=/büro echo "ünïcode" \
    # ein Kommentar mit Umläuten
    && true
RUN <<ÄNDE
grüße
ÄNDE
