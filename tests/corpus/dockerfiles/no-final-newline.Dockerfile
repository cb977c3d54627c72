# The last line has no end, and goes on into nothing.
FROM alpine:3.20
RUN echo a \
  && echo b \