# One image for web and worker; the stage for each only changes CMD.
# larder: target=worker
FROM python:3.11-slim AS common
WORKDIR /app
ADD requirements.txt .
RUN pip install -r requirements.txt
ADD . .
FROM common AS worker
CMD ["celery", "-A", "proj", "worker", "-l", "INFO"]
FROM common AS web
CMD ["flask", "run"]
