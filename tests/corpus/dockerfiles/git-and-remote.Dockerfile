# Fetched from elsewhere: each of these can age while nothing here changes.
FROM alpine:3.20
ARG BRANCH=main
ADD https://git.example/team/repo.git#${BRANCH} /repo
ADD http://files.example/data.csv https://files.example/more.csv /data/
ADD ssh://git@git.example/x.git /ssh
COPY github.com/not/remote /local
