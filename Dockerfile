# syntax=docker/dockerfile:1

# --- build: the pinned toolchain, exactly the versions of Cargo.lock ---
FROM rust:1.95-slim-bookworm AS build
# The image brings the C compiler that zstd and blake3 need.
WORKDIR /build
COPY . .
# Cargo.toml names the test target; an empty one satisfies the manifest without shipping the tests into the build.
RUN mkdir -p tests/it && echo 'fn main() {}' > tests/it/main.rs
RUN CARGO_PROFILE_RELEASE_STRIP=debuginfo cargo build --release --locked --bin holdfast \
 && mkdir -p /root-of-image/data

# --- run: no shell, no package manager, not root ---
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /build/target/release/holdfast /usr/local/bin/holdfast
COPY --from=build /build/snapshots /snapshots
COPY --from=build /build/LICENSE /LICENSE
COPY --from=build --chown=nonroot:nonroot /root-of-image/data /data

# In a container the listeners must be reachable from outside of it. An open server beyond loopback is refused
# (exit code 5), so give it a key:
#   docker run -e HOLDFAST__AUTH__ADMIN_KEY="$(openssl rand -hex 32)" -p 3000:3000 -v holdfast:/data holdfast
# The operations listener (metrics, probes) answers without a key: publish 3001 to your collector only.
ENV HOLDFAST__SERVER__LISTEN=0.0.0.0:3000 \
    HOLDFAST__SERVER__OPS_LISTEN=0.0.0.0:3001 \
    HOLDFAST__DATA__DIR=/data \
    HOLDFAST__LOG__FORMAT=json
WORKDIR /
VOLUME /data
EXPOSE 3000 3001
USER nonroot
# SIGTERM drains: running requests get their answers, then the process ends with 0.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 CMD ["/usr/local/bin/holdfast", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/holdfast"]
CMD ["serve"]
