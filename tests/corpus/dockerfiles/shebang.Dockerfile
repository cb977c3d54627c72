#!/usr/bin/env -S docker build -f
# syntax=docker/dockerfile:1
# A Dockerfile that can be run: the shebang line goes before the directives.
FROM alpine:3.20
RUN true
