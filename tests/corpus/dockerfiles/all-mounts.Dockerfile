# syntax=docker/dockerfile:1
# Every type of mount with every option, in both spellings.
FROM alpine:3.20 AS src
FROM alpine:3.20
ARG ID=a.b WHERE=/var/cache/thing
WORKDIR /w
RUN --mount=type=bind,source=a,target=/a,readonly --mount=type=bind,src=b,dst=b,ro=false \
    --mount=from=src,source=/etc,destination=/etc2,rw \
    --mount=type=bind,from=busybox:1.36,source=/bin,target=/bb,readwrite=true \
    --mount=type=cache,id=full,target=/c1,from=src,source=/var,sharing=private,mode=0700,uid=10,gid=20 \
    --mount=type=cache,target=${WHERE}/,id=x-${ID},ro \
    --mount=type=cache,target=relative/dir \
    --mount=type=cache,dst=/c3/../c4//d,sharing=shared \
    --mount=type=tmpfs,target=/t,size=1g \
    --mount=type=secret,id=one,target=/run/one,required=true,mode=0440,uid=1,gid=2 \
    --mount=type=secret,src=two,dst=/two \
    --mount=type=secret,target=/run/secrets/three \
    --mount=type=secret,id=four,env=FOUR \
    --mount=type=ssh,id=work,target=/ssh,required \
    --mount="type=cache,target=/with space" \
    --mount='type=cache,"target=/with,comma"' \
    true
