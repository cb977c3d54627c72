# A database with an extension compiled in another stage of the same version.
ARG PG=16
FROM postgres:${PG} AS build
ARG PG
RUN apt-get update && apt-get install -y postgresql-server-dev-${PG} make gcc
COPY extension /ext
RUN make -C /ext install DESTDIR=/out
FROM postgres:${PG}
COPY --from=build /out /
COPY initdb.d/*.sql initdb.d/*.sh /docker-entrypoint-initdb.d/
