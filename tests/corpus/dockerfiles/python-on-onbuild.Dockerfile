# An application on such a base: two lines, and triggers from elsewhere.
# larder-trigger: registry.example/team/python-app:3 ARG REQUIREMENTS=requirements.txt
# larder-trigger: registry.example/team/python-app:3 COPY ${REQUIREMENTS} /app/
# larder-trigger: registry.example/team/python-app:3 RUN --mount=type=cache,target=/root/.cache/pip pip install -r /app/${REQUIREMENTS}
FROM registry.example/team/python-app:3
EXPOSE 8080
