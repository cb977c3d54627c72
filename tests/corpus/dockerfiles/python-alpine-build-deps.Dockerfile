# Alpine: build dependencies come and go within one RUN.
FROM python:3.12-alpine3.20
RUN set -eux; \
	apk add --no-cache --virtual .build-deps \
		gcc \
		linux-headers \
		musl-dev \
		postgresql-dev \
	; \
	pip install --no-cache-dir psycopg2==2.9.9; \
	\
	runDeps="$( \
		scanelf --needed --nobanner --recursive /usr/local \
			| awk '{ gsub(/,/, "\nso:", $2); print "so:" $2 }' \
			| sort -u \
	)"; \
	apk add --virtual .run-deps $runDeps; \
	apk del .build-deps
STOPSIGNAL SIGINT
CMD ["python3"]
