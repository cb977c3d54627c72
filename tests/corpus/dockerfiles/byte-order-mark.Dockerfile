# syntax=docker/dockerfile:1
# A byte order mark before the directives.
FROM python:3.12-slim
RUN true
