# Line ends of Windows, in here-documents too.
FROM python:3.12-slim
RUN pip install \
    flask \
    # a comment
    gunicorn
COPY <<EOF /etc/app.ini
[app]
key = value
EOF
ENV A=b
CMD ["flask"]
