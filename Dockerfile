# A minimal image: the program, the libraries that it needs and the certificates of public authorities; no shell, not root.
# Everything that is in it is laid out by packaging/image-root.
#
#   docker build -t portcullis .
#   docker run --read-only --cap-drop ALL --tmpfs /run/portcullis:uid=65532,gid=65532,mode=0700 -v portcullis:/var/lib/portcullis \
#     -v "$PWD/portcullis.yaml:/etc/portcullis/portcullis.yaml:ro" -p 8080:8080 portcullis
#
# Its listeners must be on 0.0.0.0 to be reached. Ports below 1024 need `--cap-add NET_BIND_SERVICE` or a mapping
# (`-p 443:8443`). Give it longer to stop than server.grace_period: `--stop-timeout 45`.
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends build-essential ca-certificates cmake \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
ARG REVISION=
RUN PORTCULLIS_REVISION="$REVISION" cargo build --locked --release --bin portcullis \
 && packaging/image-root /image target/release/portcullis

FROM scratch
COPY --from=build /image/ /
USER 65532:65532
ENV STATE_DIRECTORY=/var/lib/portcullis \
    RUNTIME_DIRECTORY=/run/portcullis \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
VOLUME /var/lib/portcullis
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
  CMD ["/usr/bin/portcullis", "healthcheck", "--admin", "unix:/run/portcullis/admin.sock"]
ENTRYPOINT ["/usr/bin/portcullis"]
CMD ["run", "--config", "/etc/portcullis/portcullis.yaml"]
