# syntax=docker/dockerfile:1.4
# A script in a here-document, another for Python, and a file from a third.
FROM python:3.11-slim
RUN <<EOF
set -eu
apt-get update
apt-get install -y --no-install-recommends git
# a comment of the shell
rm -rf /var/lib/apt/lists/*
EOF
COPY requirements.txt .
RUN pip install -r requirements.txt
RUN <<-"PYTHON" python3 -
	import sys
	print("FROM nothing", sys.version)
	PYTHON
COPY --chmod=0755 <<'ENTRY' /usr/local/bin/entrypoint
#!/bin/sh
exec "$@"
ENTRY
ENTRYPOINT ["entrypoint"]
