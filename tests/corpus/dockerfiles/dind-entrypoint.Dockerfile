# Daemon in a container: privileges asked for, many shell lines, a here-string.
FROM docker:27-dind
ARG COMPOSE_VERSION
ENV DOCKER_TLS_CERTDIR=/certs
RUN apk add --no-cache bash curl \
    && if [ -n "${COMPOSE_VERSION}" ]; then \
         curl -fsSL "https://files.example/compose-${COMPOSE_VERSION}-$(uname -m)" -o /usr/local/bin/compose; \
       fi \
    && bash -c 'read a b <<< "x y"; echo $b'
COPY --chmod=755 modprobe dockerd-entrypoint.sh /usr/local/bin/
ENTRYPOINT ["dockerd-entrypoint.sh"]
