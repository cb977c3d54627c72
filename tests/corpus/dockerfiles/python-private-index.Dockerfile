# syntax=docker/dockerfile:1
# A private index: netrc and token as secrets, a deploy key through ssh.
FROM python:3.11-slim
RUN mkdir -p -m 0700 ~/.ssh && ssh-keyscan git.example >> ~/.ssh/known_hosts
COPY requirements.txt .
RUN --mount=type=secret,id=netrc,target=/root/.netrc,mode=0400,required \
    --mount=type=secret,id=index_token,env=PIP_TOKEN \
    --mount=type=ssh \
    --mount=type=ssh,id=deploy,required=true,uid=0,gid=0,mode=0600 \
    --mount=type=cache,target=/root/.cache/pip \
    pip install --extra-index-url "https://$PIP_TOKEN@pypi.example/simple" -r requirements.txt
