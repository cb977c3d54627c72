# The argument picks the stage: only one of the variants is reached.
# larder: arg:VARIANT=gpu
ARG VARIANT=cpu
FROM python:3.12-slim AS base
FROM base AS cpu
RUN pip install torch --index-url https://download.example/cpu
FROM base AS gpu
RUN pip install torch
FROM ${VARIANT} AS final
COPY . /app
