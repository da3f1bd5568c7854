// Command image writes Fanfare's container image without a container engine: the static binary for each platform, the
// roots of trust that HTTPS to webhooks and key servers needs, and an empty data directory, owned by user 65532, from
// scratch. The result is one archive (an OCI layout, with Docker's manifest beside it) that docker load, skopeo,
// crane, buildah and ctr read. The same sources, Go version and -created give the same bytes.
//
//	go run ./deploy/image -tag fanfare:1.2.3 -version 1.2.3 -commit "$(git rev-parse HEAD)" \
//	    -created "$(git log -1 --format=%ct)" -o fanfare.tar
//
// With -rootfs it writes the same files into a directory instead, for the Dockerfile.
package main
