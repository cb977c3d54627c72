# Django: static files collected with a secret that is none.
FROM python:3.12-slim AS app
ENV DJANGO_SETTINGS_MODULE="shop.settings.production"
RUN useradd --create-home --shell /usr/sbin/nologin shop
WORKDIR /home/shop
COPY requirements requirements
RUN pip install -r requirements/production.txt
COPY --chown=shop manage.py ./
COPY --chown=shop shop shop/
RUN SECRET_KEY=unused python manage.py collectstatic --noinput
USER shop
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s --retries=3 \
  CMD python manage.py check --deploy || exit 1
CMD ["gunicorn", "shop.wsgi:application", "--bind", ":8000", "--workers", "3"]

FROM registry.example/nginx:1.27-alpine AS static
COPY --from=app /home/shop/static /usr/share/nginx/html/static
