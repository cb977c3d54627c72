# PHP: composer copied from its image, and a configuration from a here-document.
FROM composer:2 AS vendor
COPY composer.json composer.lock /app/
RUN --mount=type=cache,target=/tmp/cache composer install --no-dev --prefer-dist --no-scripts
FROM php:8.3-apache
RUN docker-php-ext-install pdo_mysql opcache
COPY --from=vendor /app/vendor /var/www/html/vendor
COPY <<INI "$PHP_INI_DIR/conf.d/limits.ini"
memory_limit = ${MEMORY:-256M}
INI
COPY . /var/www/html
