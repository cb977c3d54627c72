# Cargo: registry and target in cache mounts, the binary copied out of the mount.
FROM rust:1.80-slim AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY src ./src
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=private \
    --mount=type=cache,target=/usr/local/cargo/git/db \
    --mount=type=cache,target=target <<SH
cargo build --release --locked
cp target/release/server /server
SH
FROM debian:bookworm-slim
COPY --from=build /server /usr/local/bin/
CMD ["server"]
