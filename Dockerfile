# docker build -t mockserver:latest .
# docker run -p 8888:8888 mockserver:latest
#
# Labels say what is in the image, if the build is given it:
#
# docker build -t mockserver:latest --build-arg VERSION=0.2.0 --build-arg REVISION="$(git rev-parse HEAD)" .

FROM rust:1-slim-bookworm AS build
WORKDIR /build

# A binary with the C library inside needs nothing at run time, not even a base image. The compiler
# links it so only for a target that is named, which below is the machine it runs on, whichever that is.
ENV RUSTFLAGS="-C target-feature=+crt-static"

# Cargo's own variables: a test that needs the image sooner than it needs it fast gives them.
ARG CARGO_PROFILE_RELEASE_LTO
ARG CARGO_PROFILE_RELEASE_OPT_LEVEL
ARG CARGO_PROFILE_RELEASE_CODEGEN_UNITS

# The dependencies first, with an empty program in place of ours: this layer is built again only when
# the manifest or the lock file changes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src && echo 'fn main() {}' > src/main.rs && touch src/lib.rs \
    && cargo build --release --locked --target "$(rustc --print host-tuple)"

# Then the program. Its files may be older than the empty ones were; touch makes cargo see the change.
COPY src src
RUN touch src/main.rs src/lib.rs \
    && cargo build --release --locked --target "$(rustc --print host-tuple)"

# What goes into the image, readable for everybody even if the checkout is not. DataDir and Log.Path are
# open to every user, as /tmp is: so they can be written by whatever `--user` says, and a tmpfs that is
# mounted there takes over their mode.
COPY etc etc
RUN install -D -m 755 "target/$(rustc --print host-tuple)/release/mockserver" /image/bin/mockserver \
    && install -D -m 644 etc/mockserver.yaml /image/etc/mockserver.yaml \
    && mkdir -m 1777 /image/data /image/logs

# The labels below. Podman 4 takes a LABEL from its cache whatever the arguments are, but not what comes after files that
# have changed.
ARG VERSION=unknown
ARG REVISION=unknown
RUN printf 'VERSION=%s\nREVISION=%s\n' "$VERSION" "$REVISION" > /image/etc/mockserver.build

FROM scratch
LABEL org.opencontainers.image.title="mockserver" \
      org.opencontainers.image.description="An HTTP service that goes wrong on command" \
      org.opencontainers.image.licenses="MIT"

COPY --from=build /image /

# No user needs to exist for a number, and Kubernetes can tell that it is not root.
USER 65532:65532
WORKDIR /

# Loopback inside a container is its own: a published port or a scrape from another pod would not
# reach the admin listener there. Who may reach it is decided by what is published.
ENV MOCKSERVER_ADMIN_HOST=0.0.0.0
EXPOSE 8888 8889

# The check gives up by itself after 5 s.
HEALTHCHECK --interval=10s --timeout=6s --start-period=5s --retries=3 \
    CMD ["/bin/mockserver", "healthcheck"]

# The daemon is process 1 and gets the engine's SIGTERM itself.
ENTRYPOINT ["/bin/mockserver"]

ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
