# syntax=docker/dockerfile:1-labs
# The other flags of RUN, the bare -- among them.
FROM alpine:3.20
RUN --network=none --security=insecure --mount=type=tmpfs,target=/tmp mount -t proc none /mnt
RUN --network=host --security=sandbox -- --weird-program --with=flags
RUN --network=default --device=vendor.example/gpu=all,required nvidia-smi
