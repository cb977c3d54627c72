# syntax=docker/dockerfile:1-labs
# Every flag of COPY and ADD.
FROM alpine:3.20
COPY --chown=app:app --chmod=u=rwX,go=rX --link src/ /app/src/
COPY --exclude=*.md --exclude=**/test_*.py docs src /both/
COPY --parents ./services/*/requirements.txt /reqs/
COPY --parents=true --link=false packages/./a/b.txt /keep/
COPY --chown=1000 --from=registry.example/tools:1 --link=True /bin/tool /usr/local/bin/
ADD --checksum=sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d https://files.example/a.tar.xz /
ADD --keep-git-dir=true https://git.example/team/repo.git#v1.2:sub /repo
ADD --link --unpack=false --exclude=secret archive.tar.gz /archives/
ADD --chown=$USER --chmod=0644 *.conf /etc/
ADD git@git.example:team/other.git /other
