# A static site, with templates for nginx and a signal to stop it.
FROM nginx:1.27-alpine
COPY default.conf.template /etc/nginx/templates/
COPY --chmod=644 public/ /usr/share/nginx/html/
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=5m --timeout=3s CMD ["wget", "-q", "--spider", "http://localhost/"]
