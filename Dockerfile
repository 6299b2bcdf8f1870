# Fieldway in a container:
#
#   docker build -t fieldway .
#   docker run --init -p 1883:1883 -v ./gateway.yaml:/etc/fieldway/gateway.yaml:ro -v fieldway:/var/lib/fieldway \
#       --device /dev/ttyUSB0 --group-add dialout fieldway
#
# Inside a container loopback is the container's own: a listener that others are to reach needs 0.0.0.0, and so users
# (docs/broker.md). The volume holds what waits for the cloud; without one it goes with the container.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /fieldway
# rustls' and SQLite's C code.
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock build.rs ./
COPY cross/order.ld cross/
COPY benches benches
COPY migrations migrations
COPY config config
COPY src src
RUN cargo build --locked --profile dist --bin fieldway \
    && mkdir -p /empty/data

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /fieldway/target/dist/fieldway /usr/bin/fieldway
COPY --from=build /fieldway/config/devices /usr/share/fieldway/devices
COPY --from=build /fieldway/config/gateway.yaml /etc/fieldway/gateway.yaml
# Made here with its owner: the image has no shell to do it.
COPY --from=build --chown=nonroot:nonroot /empty/data /var/lib/fieldway
USER nonroot
VOLUME /var/lib/fieldway
EXPOSE 1883 8883
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["/usr/bin/fieldway", "status"]
ENTRYPOINT ["/usr/bin/fieldway"]
CMD ["run"]
