# The shell form, the JSON form, and what only looks like JSON.
FROM alpine:3.20
SHELL ["/bin/ash", "-eo", "pipefail", "-c"]
RUN ["/bin/echo", "a \"quoted\" word", "tab\there", "\u00e9"]
RUN [ "$A" = b ] || echo no
RUN ['single', 'quotes']
RUN [ -d /x ] && echo yes
CMD ["only-parameters"]
ENTRYPOINT /bin/app --flag "$@"
CMD
COPY [ "a", "b c" , "/d/" ]
ADD ["[brackets].txt", "/"]
VOLUME /a /b
VOLUME ["/c d"]
EXPOSE 80 443/tcp 53/udp 8000-8010
